"""Removing everything that a device left behind: a deleted device leaves no data.

A tombstone, left by `Devices.delete`, says that the data has to go once more: an ingest that still had the
device in memory may have stored readings of it after the first time.
"""

from dataclasses import dataclass
from datetime import datetime

from bson import Binary, ObjectId

from store.mongo import Database, Document, away_as_store_error
from store.schema import CLUSTERED

BATCH = 20_000  # documents in one delete: well inside the time-out of an operation


@dataclass(frozen=True, slots=True)
class Tombstone:
    id: str
    org: str
    device: str
    at: datetime


class Purge:
    """Every method raises `StoreAway` where MongoDB cannot be reached; calling again goes on from there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def device(self, device_id: str) -> int:
        """Deletes the device's readings, heartbeats, events and sequence counters; their number."""
        device = ObjectId(device_id)
        deleted = 0
        with away_as_store_error():
            for name in CLUSTERED:
                for keys in _ranges(device):
                    deleted += await self._range(name, keys)
            sequences = await self._database["sequences"].delete_many({"_id": device})
        return deleted + sequences.deleted_count

    async def letters(self, org: str, device: str, upto: datetime) -> int:
        """Deletes the device's dead letters, which hold what it sent; their number."""
        query = {"org": org, "device": device, "at": {"$lte": upto}}
        with away_as_store_error():
            return (await self._database["dead_letters"].delete_many(query)).deleted_count

    async def tombstones(self, before: datetime, limit: int) -> list[Tombstone]:
        """Of devices deleted before, oldest first."""
        with away_as_store_error():
            found = self._database["tombstones"].find({"at": {"$lt": before}}).sort("at", 1).limit(limit)
            return [
                Tombstone(str(one["_id"]), one["org"], one["device"], one["at"])
                for one in await found.to_list()
            ]

    async def bury(self, tombstone: Tombstone) -> None:
        """Forgets the tombstone itself."""
        with away_as_store_error():
            await self._database["tombstones"].delete_one({"_id": ObjectId(tombstone.id)})

    async def _range(self, name: str, keys: Document) -> int:
        """In batches, since one delete of a year of readings would outlast every time-out."""
        collection = self._database[name]
        deleted = 0
        while True:
            last = await collection.find({"_id": keys}, {"_id": 1}).sort("_id", 1).skip(BATCH).to_list(1)
            upto = {**keys, "$lt": last[0]["_id"]} if last else keys
            deleted += (await collection.delete_many({"_id": upto})).deleted_count
            if not last:
                return deleted


def _ranges(device: ObjectId) -> list[Document]:
    """Every key of the device: of readings (20 bytes) and of events (28).

    MongoDB orders binary values by length before content, so a range never spans two lengths.
    """
    return [
        {"$gte": Binary(device.binary + bytes(tail)), "$lte": Binary(device.binary + b"\xff" * tail)}
        for tail in (8, 16)
    ]
