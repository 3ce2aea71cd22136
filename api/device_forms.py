"""A device on the wire: what may be sent, what is answered."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from api import metadata
from api.clock import rfc3339
from core.topics import SLUG
from store.devices import Device, Lifecycle, Presence

_PLAIN = r"^[^\x00-\x1f\x7f]+$"
_MAX_SILENCE_S = 10 * 365 * 24 * 3600

Time = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-22T12:00:00.000Z"]}),
]
Slug = Annotated[str, Field(pattern=f"^{SLUG.pattern}$", examples=["boiler-1"])]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=_PLAIN, examples=["Boiler, north wing"])]
Type = Annotated[str, Field(min_length=1, max_length=64, pattern=_PLAIN, examples=["boiler"])]
Tag = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^,\x00-\x1f\x7f]+$")]
Tags = Annotated[
    list[Tag],
    Field(max_length=32, examples=[["north", "heating"]]),
    AfterValidator(lambda tags: list(dict.fromkeys(tags))),
]
Metadata = Annotated[
    dict[str, Any], AfterValidator(metadata.check), Field(examples=[{"floor": 2, "serial": "B-0017"}])
]
Silence = Annotated[
    float,
    Field(
        gt=0,
        le=_MAX_SILENCE_S,
        allow_inf_nan=False,
        description="Seconds of silence after which the device is deactivated; null for the default",
        examples=[3600],
    ),
]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DeviceForm(_Form):
    device: Slug
    name: Name | None = None
    type: Type | None = None
    tags: Tags = []
    metadata: Metadata = {}
    silent_after_s: Silence | None = None


class DevicePatch(_Form):
    """What is left out stays as it is; tags and metadata are replaced whole; null clears."""

    name: Name | None = None
    type: Type | None = None
    tags: Tags = []
    metadata: Metadata = {}
    silent_after_s: Silence | None = None


class PresenceOut(BaseModel):
    state: Annotated[str, Field(examples=["online"])]
    since: Time | None
    reason: str | None


class DeviceOut(BaseModel):
    org: Slug
    device: Slug
    name: Name | None
    type: Type | None
    tags: Tags
    metadata: dict[str, Any]
    lifecycle: Lifecycle
    silent_after_s: float | None
    presence: PresenceOut
    last_seen: Time | None
    created: Time
    updated: Time
    version: Annotated[int, Field(description="Also the ETag", examples=[1])]


class SecretOut(BaseModel):
    secret: Annotated[
        str, Field(description="Shown this once", examples=["0pQ1mC4Zk2nJ3sVt8wXy5bHd7gLf9rAe"])
    ]


class CreatedDevice(DeviceOut, SecretOut):
    pass


class DevicePage(BaseModel):
    items: list[DeviceOut]
    next_cursor: str | None


FIELDS = tuple(DeviceOut.model_fields)


def device_out(device: Device) -> dict[str, Any]:
    """`DeviceOut` as a dict, ready for JSON."""
    return {
        "org": device.org,
        "device": device.device,
        "name": device.name,
        "type": device.type,
        "tags": device.tags,
        "metadata": device.metadata,
        "lifecycle": device.lifecycle,
        "silent_after_s": device.silent_after_s,
        "presence": _presence(device.presence),
        "last_seen": _time(device.last_seen),
        "created": _time(device.created),
        "updated": _time(device.updated),
        "version": device.version,
    }


def _presence(presence: Presence) -> dict[str, Any]:
    return {"state": presence.state, "since": _time(presence.since), "reason": presence.reason}


def _time(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None
