"""From a device's script to what it sends: payloads are made once, so that what is sent again is the same."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from core.topics import Uplink
from simulator.models import Model
from simulator.script import Act, Step


@dataclass(frozen=True, slots=True)
class Message:
    """`at`: when it was due (s since 1970). `is_dated`: it carries that time, so it can be sent late."""

    at: float
    kind: Uplink
    payload: bytes
    is_dated: bool
    seq: int | None = None
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """From `at` the device is gone until `until`; `is_cut`: without a goodbye."""

    at: float
    until: float
    is_cut: bool


def compose(model: Model, steps: Iterable[Step], boot: float) -> Iterator[Message | Pause]:
    """`boot` is the time that uptime counts from. Readings of a device that wants receipts count from 1."""
    seq = 0
    last: Message | None = None
    for step in steps:
        match step.act:
            case Act.READ:
                seq += 1
                last = _reading(model, step.at, seq if model.wants_receipts else None)
                yield last
            case Act.REPEAT if last:
                yield replace(last, is_repeat=True)
            case Act.HEARTBEAT:
                yield _message(model, step.at, Uplink.HEARTBEAT, _heartbeat(model, step.at, boot))
            case Act.EVENT:
                yield _message(model, step.at, Uplink.EVENT, _event(model, step.at))
            case Act.LEAVE | Act.CUT:
                yield Pause(step.at, step.at + step.pause_s, step.act is Act.CUT)


def _reading(model: Model, at: float, seq: int | None) -> Message:
    body: dict[str, Any] = {"values": model.read(at)}
    if seq is not None:
        body["seq"] = seq
    return replace(_message(model, at, Uplink.TELEMETRY, body), seq=seq)


def _heartbeat(model: Model, at: float, boot: float) -> dict[str, Any]:
    return {
        "battery": round(model.battery(at)),
        "rssi": round(model.rssi(at)),
        "uptime": int(at - boot),
        "firmware": model.firmware,
    }


def _event(model: Model, at: float) -> dict[str, Any]:
    """Whether the battery is low, or else that the device looked after itself."""
    battery = round(model.battery(at))
    if battery < 20:
        return {"level": "warning", "code": "BATTERY_LOW", "message": f"battery at {battery} %"}
    return {"level": "info", "code": "SELF_TEST", "message": "self test passed", "data": {"battery": battery}}


def _message(model: Model, at: float, kind: Uplink, body: dict[str, Any]) -> Message:
    dated = {"ts": int(at * 1000), **body} if model.has_clock else body
    return Message(at, kind, msgspec.json.encode(dated), model.has_clock)
