"""The read side of `events`: what devices wrote into their log.

A key is 28 bytes: device, time, and a hash. MongoDB orders binary values by length before content, so the
bounds of a range must be 28 bytes long too.
"""

from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from store.keys import key, ts_of
from store.mongo import Database, Document, away_as_store_error
from store.readings import Span

DEVICE = 12  # bytes of the device in a key
TAIL = 16  # bytes after the device


@dataclass(frozen=True, slots=True)
class LogEntry:
    """`position`: the key after the device, by which the next page is found; times in ms as in `Reading`."""

    position: bytes
    ts: int
    level: str | None
    code: str | None
    message: str | None
    data: Any
    device_ts: int | None = None


class EventLog:
    """Every method raises `StoreAway` where MongoDB cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._events = database["events"]

    async def page(
        self, device_id: str, span: Span, limit: int, before: bytes | None = None
    ) -> list[LogEntry]:
        """Newest first, those that come after the position `before`."""
        device = ObjectId(device_id)
        end = device.binary + before if before else _bound(device, span.end)
        query = {"_id": {"$gte": _bound(device, span.start), "$lt": end}}
        with away_as_store_error():
            documents = await self._events.find(query).sort("_id", -1).limit(limit).to_list()
        return [_entry(document) for document in documents]


def _entry(document: Document) -> LogEntry:
    return LogEntry(
        position=bytes(document["_id"][DEVICE:]),
        ts=ts_of(document["_id"]),
        level=document.get("level"),
        code=document.get("code"),
        message=document.get("message"),
        data=document.get("data"),
        device_ts=document.get("device_ts"),
    )


def _bound(device: ObjectId, ts_ms: int) -> bytes:
    return key(device, ts_ms) + bytes(TAIL - 8)
