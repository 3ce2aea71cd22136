"""The write side of `telemetry`, `heartbeats` and `events`: stored once, merged, or rejected, never both.

A reading with the device's own time is its own key: written twice it merges, and of differing values the last
wins. One with the server's time carries `delivery`, a hash of the delivery that brought it, by which a second
delivery of the same message is found where the broker may have sent it before.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

import msgspec
from bson import ObjectId
from bson.errors import InvalidDocument
from pymongo import UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError, DocumentTooLarge

from store.errors import StoreAway
from store.keys import below, event_key
from store.mongo import Database, Document, away_as_store_error

_DUPLICATE_KEY = 11000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Of the server, not of the document: lock and write conflicts, no primary, shutting down, disk full
# (src/mongo/base/error_codes.yml).
_TRANSIENT = frozenset({24, 50, 91, 112, 189, 10107, 11600, 11602, 13435, 13436, 14031})


class Fate(IntEnum):
    STORED = 0
    MERGED = 1
    REJECTED = 2


class Entry(msgspec.Struct, gc=False):
    """One reading to write, `ts` in ms; `fate` and `reason`: what became of it."""

    device: bytes  # the 12 of its id
    ts: int
    values: dict[str, Any]
    device_ts: int | None = None
    delivery: int | None = None
    fate: Fate = Fate.STORED
    reason: str = ""


class _Slot(msgspec.Struct, gc=False):
    """One document, and the entries that went into it."""

    document: Document
    entries: list[Entry]


class Readings:
    """Writes to `telemetry` or `heartbeats`; after `StoreAway` nothing is known of the batch's fate."""

    def __init__(self, database: Database, name: str) -> None:
        self._collection: AsyncCollection[Document] = database[name]

    async def write(self, entries: Sequence[Entry]) -> None:
        """Sets each entry's fate. Entries are taken in order: of those with one key the last wins."""
        if not entries:
            return
        slots = self._slots(entries)
        with away_as_store_error():
            taken = await self._insert(list(slots.values()))
            while clashes := [slot for slot in taken if _is_server_timed(slot)]:
                taken = [slot for slot in taken if not _is_server_timed(slot)]
                taken += await self._insert([self._a_moment_later(slot) for slot in clashes])
            for slot in taken:
                slot.entries[0].fate = Fate.MERGED
            if taken:
                await self._merge(taken)

    async def seen(self, since: Mapping[int, int]) -> set[int]:
        """Of the deliveries in `since` those that are stored under that time (ms) or a later one.

        An older one is of another message: packet ids come round, and devices repeat themselves.
        """
        query = {"delivery": {"$in": list(since)}}
        with away_as_store_error():
            documents = await self._collection.find(query, {"delivery": 1, "ts": 1}).to_list()
            found = [one for one in documents if one["ts"] >= _time(since[one["delivery"]])]
            if found:
                await self._settle(found[0])
        return {document["delivery"] for document in found}

    async def _settle(self, document: Document) -> None:
        """A read may show what no majority has yet; a write after it is on one only together with that."""
        same = {"delivery": document["delivery"]}
        await self._collection.update_one({"_id": document["_id"]}, {"$set": same})

    def _slots(self, entries: Sequence[Entry]) -> dict[bytes, _Slot]:
        slots: dict[bytes, _Slot] = {}
        server_timed = []
        for entry in entries:
            if entry.delivery is not None:
                server_timed.append(entry)
                continue
            document = self._document(entry)
            slot = slots.get(document["_id"])
            if slot is None:
                slots[document["_id"]] = _Slot(document, [entry])
                continue
            entry.fate = Fate.MERGED
            self._join(slot.document, entry)
            slot.entries.append(entry)
        for entry in server_timed:
            while (document := self._document(entry))["_id"] in slots:
                entry.ts += 1  # its time is ours to choose: it overwrites nobody
            slots[document["_id"]] = _Slot(document, [entry])
        return slots

    def _document(self, entry: Entry) -> Document:
        document = {"_id": below(entry.device, entry.ts), "ts": _time(entry.ts), "v": entry.values}
        return _with_origin(document, entry)

    def _a_moment_later(self, slot: _Slot) -> _Slot:
        """Another ingest gave the same server time to another reading: this one moves on by 1 ms."""
        entry = slot.entries[0]
        entry.ts += 1
        slot.document = self._document(entry)
        return slot

    def _join(self, document: Document, entry: Entry) -> None:
        document["v"] = {**document["v"], **entry.values}

    async def _insert(self, slots: list[_Slot]) -> list[_Slot]:
        """The slots whose key is taken."""
        try:
            await self._collection.insert_many([slot.document for slot in slots], ordered=False)
        except BulkWriteError as error:
            return _sort_out(error, slots)
        except (InvalidDocument, DocumentTooLarge, OverflowError, UnicodeEncodeError):
            return await self._insert_singly(slots)
        return []

    async def _insert_singly(self, slots: list[_Slot]) -> list[_Slot]:
        """Finds the one document that cannot be encoded, which the driver does not name."""
        taken: list[_Slot] = []
        for slot in slots:
            try:
                await self._collection.insert_many([slot.document], ordered=False)
            except BulkWriteError as error:
                taken += _sort_out(error, [slot])
            except (InvalidDocument, DocumentTooLarge, OverflowError, UnicodeEncodeError) as error:
                _reject(slot, str(error))
        return taken

    async def _merge(self, slots: list[_Slot]) -> None:
        try:
            await self._collection.bulk_write([_update(slot.document) for slot in slots], ordered=False)
        except BulkWriteError as error:
            if _sort_out(error, slots):
                raise StoreAway("an upsert met another of the same key") from error


class EventLog(Readings):
    """Writes to `events`, where the key holds a hash of the content: what meets its own key is the same."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "events")

    def _document(self, entry: Entry) -> Document:
        identity = msgspec.json.encode(entry.values, order="sorted")
        document = {
            "_id": event_key(ObjectId(entry.device), entry.ts, identity),
            "ts": _time(entry.ts),
            **entry.values,
        }
        return _with_origin(document, entry)

    def _join(self, document: Document, entry: Entry) -> None:
        """Nothing to add: both are the same event."""

    async def _merge(self, slots: list[_Slot]) -> None:
        """Nothing to change: what is stored is the same event."""


def _is_server_timed(slot: _Slot) -> bool:
    return slot.entries[0].delivery is not None


def _with_origin(document: Document, entry: Entry) -> Document:
    if entry.device_ts is not None:
        document["device_ts"] = entry.device_ts
    if entry.delivery is not None:
        document["delivery"] = entry.delivery
    return document


def _update(document: Document) -> UpdateOne:
    values = {f"v.{name}": value for name, value in document["v"].items()}
    rest = {name: value for name, value in document.items() if name not in ("_id", "v")}
    # The upsert matters only where the document was deleted since the insert met it.
    return UpdateOne({"_id": document["_id"]}, {"$set": values, "$setOnInsert": rest}, upsert=True)


def _sort_out(error: BulkWriteError, slots: list[_Slot]) -> list[_Slot]:
    if error.details.get("writeConcernErrors"):
        raise StoreAway(str(error)) from error
    taken: list[_Slot] = []
    for failure in error.details["writeErrors"]:
        slot = slots[failure["index"]]
        if failure["code"] in _TRANSIENT:
            raise StoreAway(failure["errmsg"]) from error
        if failure["code"] == _DUPLICATE_KEY:
            taken.append(slot)
        else:
            _reject(slot, failure["errmsg"])
    return taken


def _reject(slot: _Slot, reason: str) -> None:
    for entry in slot.entries:
        entry.fate = Fate.REJECTED
        entry.reason = reason[:500]


def _time(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)
