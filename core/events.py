"""Domain events: what happened to a device, told to dashboards and to whoever must not miss it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class EventKind(StrEnum):
    ONLINE = "device.online"
    OFFLINE = "device.offline"
    ACTIVATED = "device.activated"
    DEACTIVATED = "device.deactivated"
    CREATED = "device.created"
    DELETED = "device.deleted"
    LOGGED = "device.event"


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """`at` in ms since 1970; `data` holds what is peculiar to the kind, such as `reason` or `silent_s`."""

    org: str
    device: str
    kind: EventKind
    at: int
    data: dict[str, Any] = field(default_factory=dict)
