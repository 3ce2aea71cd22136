"""The device registry as operators see it. Every query carries the organisation in the query itself."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from core.secrets import HashedSecret
from store.errors import Conflict, VersionMismatch
from store.mongo import Database, Document, away_as_store_error

Lifecycle = Literal["active", "inactive"]


@dataclass(frozen=True, slots=True)
class Presence:
    state: Literal["online", "offline", "unknown"] = "unknown"
    since: datetime | None = None
    session: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    id: str
    org: str
    device: str
    created: datetime
    updated: datetime
    name: str | None = None
    type: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    lifecycle: Lifecycle = "active"
    silent_after_s: float | None = None
    presence: Presence = Presence()
    last_seen: datetime | None = None
    version: int = 1

    @property
    def path(self) -> str:
        return f"{self.org}/{self.device}"


@dataclass(frozen=True, slots=True)
class NewDevice:
    org: str
    device: str
    name: str | None = None
    type: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    silent_after_s: float | None = None


class Devices:
    """Every method raises `StoreAway` where MongoDB cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._devices = database["devices"]
        self._tombstones = database["tombstones"]

    async def create(self, new: NewDevice, secret: HashedSecret, at: datetime) -> Device:
        """Raises `Conflict` where the organisation has a device of this name."""
        document: Document = {
            "_id": ObjectId(),
            "org": new.org,
            "device": new.device,
            "path": f"{new.org}/{new.device}",
            "name": new.name,
            "type": new.type,
            "tags": list(new.tags),
            "metadata": dict(new.metadata),
            "silent_after_s": new.silent_after_s,
            "credentials": [_credential(secret, at)],
            "lifecycle": "active",
            "presence": {"state": "unknown", "since": None, "session": None, "reason": None},
            "last_seen": None,
            "created": at,
            "updated": at,
            "version": 1,
        }
        with away_as_store_error():
            try:
                await self._devices.insert_one(document)
            except DuplicateKeyError as error:
                raise Conflict(new.device) from error
        return _device(document)

    async def get(self, org: str, device: str) -> Device | None:
        with away_as_store_error():
            document = await self._devices.find_one({"org": org, "device": device})
        return _device(document) if document else None

    async def page(self, org: str, after: str | None, limit: int) -> list[Device]:
        """Up to `limit` devices in the order of their names, those after the name `after`."""
        query: Document = {"org": org}
        if after is not None:
            query["device"] = {"$gt": after}
        with away_as_store_error():
            documents = await self._devices.find(query).sort("device", 1).limit(limit).to_list()
        return [_device(document) for document in documents]

    async def patch(
        self, org: str, device: str, changes: Mapping[str, Any], at: datetime, version: int | None = None
    ) -> Device | None:
        """None where there is no such device; raises `VersionMismatch` where it is not at `version`."""
        query: Document = {"org": org, "device": device}
        if version is not None:
            query["version"] = version
        update = {"$set": {**changes, "updated": at}, "$inc": {"version": 1}}
        with away_as_store_error():
            document = await self._devices.find_one_and_update(
                query, update, return_document=ReturnDocument.AFTER
            )
        if document:
            return _device(document)
        found = await self.get(org, device)
        if found and version is not None:
            raise VersionMismatch(found.version)
        return None

    async def delete(self, org: str, device: str, at: datetime) -> str | None:
        """Removes the device and leaves a tombstone, by which its data is purged; its id, or None."""
        with away_as_store_error():
            document = await self._devices.find_one({"org": org, "device": device}, {"_id": 1})
            if document is None:
                return None
            tombstone = {"_id": document["_id"], "org": org, "device": device, "at": at}
            await self._tombstones.update_one(
                {"_id": document["_id"]}, {"$setOnInsert": tombstone}, upsert=True
            )
            await self._devices.delete_one({"_id": document["_id"]})
        return str(document["_id"])

    async def credentials(self) -> AsyncIterator[tuple[str, HashedSecret]]:
        """User name and newest secret of every device."""
        with away_as_store_error():
            async for document in self._devices.find({}, {"path": 1, "credentials": 1}):
                yield document["path"], _newest(document)

    async def credential(self, path: str) -> HashedSecret | None:
        """The newest secret of the device with this user name."""
        with away_as_store_error():
            document = await self._devices.find_one({"path": path}, {"credentials": 1})
        return _newest(document) if document else None

    async def replace_secret(self, org: str, device: str, secret: HashedSecret, at: datetime) -> bool:
        """False where there is no such device."""
        update = {
            "$set": {"credentials": [_credential(secret, at)], "updated": at},
            "$inc": {"version": 1},
        }
        with away_as_store_error():
            result = await self._devices.update_one({"org": org, "device": device}, update)
        return result.matched_count == 1


def _credential(secret: HashedSecret, at: datetime) -> Document:
    return {
        "salt": secret.salt,
        "iterations": secret.iterations,
        "digest": secret.digest,
        "created": at,
        "expires": None,
    }


def _newest(document: Document) -> HashedSecret:
    newest = max(document["credentials"], key=lambda credential: credential["created"])
    return HashedSecret(newest["salt"], newest["iterations"], newest["digest"])


def _device(document: Document) -> Device:
    return Device(
        id=str(document["_id"]),
        org=document["org"],
        device=document["device"],
        created=document["created"],
        updated=document["updated"],
        name=document["name"],
        type=document["type"],
        tags=tuple(document["tags"]),
        metadata=document["metadata"],
        lifecycle=document["lifecycle"],
        silent_after_s=document["silent_after_s"],
        presence=Presence(**document["presence"]),
        last_seen=document["last_seen"],
        version=document["version"],
    )
