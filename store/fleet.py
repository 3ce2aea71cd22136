"""What ingest asks and tells of devices: who they are, that they were heard, whether they are there."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from bson import ObjectId
from pymongo import UpdateOne

from core.presence import Presence
from store.mongo import Database, Document, away_as_store_error


@dataclass(slots=True)
class KnownDevice:
    """A device as ingest keeps it in memory; `presence` and `is_active` are its last known state.

    `key`: the 12 bytes of its id, by which it is quick to look up and to build keys from. `clock`: the last
    server time (ms) given to one of its readings.
    """

    key: bytes
    name: str  # the id as text
    path: str
    org: str
    device: str
    presence: Presence
    is_active: bool
    clock: int = 0

    def stamp(self, now: int) -> int:
        """A server time of its own for each reading without one, so that none overwrites another."""
        self.clock = max(now, self.clock + 1)
        return self.clock


class Fleet:
    """Every method raises `StoreAway` where MongoDB cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._devices = database["devices"]

    async def resolve(self, paths: Iterable[str]) -> dict[str, KnownDevice]:
        """Those that exist, by path."""
        query = {"path": {"$in": list(paths)}}
        fields = {"org": 1, "device": 1, "path": 1, "presence": 1, "lifecycle": 1}
        with away_as_store_error():
            documents = await self._devices.find(query, fields).to_list()
        return {document["path"]: _known(document) for document in documents}

    async def heard(self, last_seen: Mapping[bytes, int]) -> None:
        """Moves the last-seen times (ms) forward, never back; by the devices' keys."""
        updates = [
            UpdateOne({"_id": ObjectId(key)}, {"$max": {"last_seen": _time(at)}})
            for key, at in last_seen.items()
        ]
        if updates:
            with away_as_store_error():
                await self._devices.bulk_write(updates, ordered=False)

    async def set_presence(self, key: bytes, before: Presence, after: Presence) -> bool:
        """False where the presence is no longer `before`: somebody else knew more, ask again."""
        query = {"_id": ObjectId(key), "presence": _presence_document(before)}
        with away_as_store_error():
            result = await self._devices.update_one(query, {"$set": {"presence": _presence_document(after)}})
        return result.matched_count == 1

    async def activate(self, key: bytes, at: int) -> bool:
        """False where it is active already, or gone."""
        update: Document = {
            "$set": {"lifecycle": "active", "updated": _time(at)},
            "$max": {"last_seen": _time(at)},
            "$inc": {"version": 1},
        }
        with away_as_store_error():
            result = await self._devices.update_one({"_id": ObjectId(key), "lifecycle": "inactive"}, update)
        return result.matched_count == 1


def _known(document: Document) -> KnownDevice:
    presence = dict(document["presence"])
    since = presence.pop("since")
    return KnownDevice(
        key=document["_id"].binary,
        name=str(document["_id"]),
        path=document["path"],
        org=document["org"],
        device=document["device"],
        presence=Presence(since=_ms(since) if since else None, **presence),
        is_active=document["lifecycle"] == "active",
    )


def _presence_document(presence: Presence) -> Document:
    document = asdict(presence)
    since = presence.since
    # The order of fields is part of an equality match on an embedded document.
    return {**document, "since": None if since is None else _time(since)}


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
