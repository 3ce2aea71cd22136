"""The topic tree `v1/{org}/{device}/…`: parsing what devices publish, formatting what they are sent."""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

ROOT = "v1"
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Uplink(StrEnum):
    """What a device may publish: the rest of its topic, with `+` where a level is free."""

    TELEMETRY = "telemetry"
    HEARTBEAT = "heartbeat"
    EVENT = "event"
    STATUS = "status"
    STATE = "state"
    RESULT = "cmd/+/result"


class TopicError(ValueError):
    """A topic outside the tree; the message names the topic and the level at fault."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a message came from: `path` is `org/device`, also the device's MQTT user name."""

    org: str
    device: str
    kind: Uplink
    reply: str | None = None

    @property
    def path(self) -> str:
        return f"{self.org}/{self.device}"


def is_slug(text: str) -> bool:
    return SLUG.fullmatch(text) is not None


@lru_cache(maxsize=65_536)  # a device publishes to the same few topics for years
def parse_uplink(topic: str) -> Address:
    """`v1/{org}/{device}/{kind}`, or the same and `_reply/{process}/{request}` from one of our own."""
    levels = topic.split("/")
    if len(levels) == 6 and levels[3] == "cmd" and levels[5] == "result":
        levels[3:] = [Uplink.RESULT]
    if len(levels) not in (4, 7) or levels[0] != ROOT:
        raise TopicError(f"topic {topic!r} is not {ROOT}/{{org}}/{{device}}/{{kind}}")
    org, device, kind = levels[1:4]
    for level in (org, device):
        if not is_slug(level):
            raise TopicError(f"topic {topic!r}: {level!r} is not a slug ([a-z0-9][a-z0-9-]{{0,62}})")
    try:
        uplink = Uplink(kind)
    except ValueError:
        raise TopicError(f"topic {topic!r}: unknown kind {kind!r} (one of {', '.join(Uplink)})") from None
    if len(levels) == 4:
        return Address(org, device, uplink)
    if levels[4] != "_reply" or not levels[5] or not levels[6]:
        raise TopicError(f"topic {topic!r}: only _reply/{{process}}/{{request}} may follow the kind")
    return Address(org, device, uplink, reply=f"{levels[5]}/{levels[6]}")


def uplink(path: str, kind: Uplink) -> str:
    return f"{ROOT}/{path}/{kind}"


def uplink_with_reply(path: str, kind: Uplink, to: str) -> str:
    """A message sent for a device by one of our own processes; its outcome is wanted `to` process/request."""
    return f"{ROOT}/{path}/{kind}/_reply/{to}"


def reply(to: str) -> str:
    """Where the outcome of a message sent with `uplink_with_reply` is published; `to` may be a filter."""
    return f"{ROOT}/_reply/{to}"


def receipt(path: str) -> str:
    return f"{ROOT}/{path}/receipt"


def error(path: str) -> str:
    return f"{ROOT}/{path}/error"


def event(org: str, kind: str) -> str:
    """Domain events for dashboards; `kind` is `noun.verb`, such as `device.online`."""
    return f"{ROOT}/{org}/_events/{kind}"


def probe(ingest_id: str) -> str:
    """Where an ingest sends itself a message to prove that its whole path from the broker is open."""
    return f"{ROOT}/_probe/{ingest_id}"


def uplink_filters(share: str | None = None) -> list[str]:
    """Topic filters of everything that ingest stores; with `share`, as a shared subscription's group."""
    prefix = f"$share/{share}/" if share else ""
    plain = [f"{prefix}{ROOT}/+/+/{kind}" for kind in Uplink]
    return [*plain, f"{prefix}{ROOT}/+/+/+/_reply/+/+"]
