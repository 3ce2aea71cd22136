"""Devices that were silent for too long, and those that spoke while they were being put to rest.

A change and its audit entry are one transaction: MongoDB aborts it where a device it read was written to in
between (`last_seen` of one that spoke, say), and the driver runs it again on what is there then.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pymongo.asynchronous.client_session import AsyncClientSession

from store.audit import entry
from store.mongo import DURABLE, Database, Document, away_as_store_error

BATCH = 200  # devices in one transaction
ACTOR = "jobs"
# How far back a device that spoke during its own deactivation is looked for: ingest tells of it in seconds.
_LATE_NEWS = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Found:
    """`last_seen` in s since 1970, None for a device that was never heard."""

    org: str
    device: str
    last_seen: float | None
    session: int | None

    @property
    def path(self) -> str:
        return f"{self.org}/{self.device}"


class Silent:
    """Times are in s since 1970. Each call changes `BATCH` devices at most and gives those it changed.

    Every method raises `StoreAway` where MongoDB cannot be reached.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._devices = database["devices"]

    async def own_limits(self) -> list[float]:
        """The different `silent_after_s` that devices have instead of the default."""
        with away_as_store_error():
            limits = await self._devices.distinct("silent_after_s", {"silent_after_s": {"$gt": 0}})
        return sorted(limits)

    async def deactivate(
        self, limit: float | None, before: float, horizon: float, at: datetime
    ) -> list[Found]:
        """Active devices with this limit of their own (None: with none) that were heard last `before`.

        `horizon`: the moment up to which they were observed; what they say later makes them active again.
        """
        query = {"lifecycle": "active", "silent_after_s": limit, **_unheard_since(_time(before))}
        change = {"lifecycle": "inactive", "deactivated": _time(horizon), "updated": at}
        return await self._change(query, {"$set": change, "$inc": {"version": 1}}, at, "device.deactivated")

    async def take_offline(self, before: float, horizon: float) -> list[Found]:
        """Devices that count as online and have neither spoken nor come online since `before`."""
        moment = _time(before)
        query = {
            "presence.state": "online",
            "presence.since": {"$lt": moment},
            "$or": [{"last_seen": {"$lt": moment}}, {"last_seen": None}],
        }
        change = {
            "presence.state": "offline",
            "presence.since": _time(horizon),
            "presence.reason": "silent",
        }
        return await self._change(query, {"$set": change})

    async def reactivate(self, horizon: float, at: datetime) -> list[Found]:
        """Devices that spoke after what their deactivation was decided on, but before ingest knew of it."""
        query = {
            "lifecycle": "inactive",
            "last_seen": {"$gt": _time(horizon) - _LATE_NEWS},
            "$expr": {"$and": [{"$ne": [{"$type": "$deactivated"}, "missing"]}, _LATER_THAN_DEACTIVATED]},
        }
        change = {"lifecycle": "active", "updated": at}
        return await self._change(query, {"$set": change, "$inc": {"version": 1}}, at, "device.activated")

    async def bring_online(self, horizon: float) -> list[Found]:
        """Devices that spoke after what taking them offline was decided on; likewise."""
        query = {
            "presence.state": "offline",
            "presence.reason": "silent",
            "last_seen": {"$gt": _time(horizon) - _LATE_NEWS},
            "$expr": {"$gt": ["$last_seen", "$presence.since"]},
        }
        change = {
            "presence.state": "online",
            "presence.since": "$last_seen",
            "presence.reason": "heard",
        }
        return await self._change(query, [{"$set": change}])

    async def _change(
        self,
        query: Document,
        update: Document | list[Document],
        at: datetime | None = None,
        action: str | None = None,
    ) -> list[Found]:
        async def change(session: AsyncClientSession) -> list[Found]:
            cursor = self._devices.find(query, _FIELDS, session=session, limit=BATCH)
            documents = await cursor.to_list()
            if documents:
                ids = [document["_id"] for document in documents]
                await self._devices.update_many({"_id": {"$in": ids}}, update, session=session)
            if documents and at and action:
                audit = [_audit(document, at, action) for document in documents]
                await self._database["audit"].insert_many(audit, session=session)
            return [_found(document) for document in documents]

        return await self._in_transaction(change)

    async def _in_transaction(
        self, change: Callable[[AsyncClientSession], Awaitable[list[Found]]]
    ) -> list[Found]:
        with away_as_store_error():
            async with self._database.client.start_session() as session:
                return await session.with_transaction(change, write_concern=DURABLE)


_FIELDS = ("org", "device", "last_seen", "presence", "lifecycle")
_LATER_THAN_DEACTIVATED = {"$gt": ["$last_seen", "$deactivated"]}


def _unheard_since(moment: datetime) -> Document:
    never = {"last_seen": None, "created": {"$lt": moment}}
    return {"$or": [{"last_seen": {"$lt": moment}}, never]}


def _audit(document: Document, at: datetime, action: str) -> Document:
    before, after = ("active", "inactive") if document["lifecycle"] == "active" else ("inactive", "active")
    return entry(
        document["org"],
        ACTOR,
        action,
        f"device/{document['device']}",
        at,
        before={"lifecycle": before},
        after={"lifecycle": after},
    )


def _found(document: Document) -> Found:
    seen = document["last_seen"]
    return Found(
        document["org"],
        document["device"],
        seen.timestamp() if seen else None,
        document["presence"]["session"],
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
