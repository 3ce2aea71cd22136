"""Collections and indexes, made once and checked at every start.

`telemetry`, `heartbeats` and `events` are clustered: `_id` is the device's ObjectId followed by the time, so
that a reading is its own key (see `store.keys`) and needs no second index.
"""

from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import CollectionInvalid

from store.mongo import Database

VERSION = 1

CLUSTERED = ("telemetry", "heartbeats", "events")
_ZSTD = {"wiredTiger": {"configString": "block_compressor=zstd"}}
_DAY_S = 24 * 3600

# Finds the readings of a delivery that the broker repeats; only those with the server's time carry one.
_DELIVERY = IndexModel([("delivery", ASCENDING)], sparse=True)

INDEXES: dict[str, list[IndexModel]] = {
    **{name: [_DELIVERY] for name in CLUSTERED},
    "devices": [
        IndexModel([("path", ASCENDING)], unique=True),
        IndexModel([("org", ASCENDING), ("device", ASCENDING)]),
        IndexModel([("lifecycle", ASCENDING), ("last_seen", ASCENDING)]),
        IndexModel([("presence.state", ASCENDING), ("last_seen", ASCENDING)]),
        IndexModel(
            [("silent_after_s", ASCENDING), ("last_seen", ASCENDING)],
            partialFilterExpression={"silent_after_s": {"$gt": 0}},
        ),
    ],
    "users": [IndexModel([("email", ASCENDING)], unique=True), IndexModel([("org", ASCENDING)])],
    "dead_letters": [
        IndexModel([("org", ASCENDING), ("at", DESCENDING)]),
        IndexModel([("org", ASCENDING), ("device", ASCENDING), ("at", DESCENDING)]),
        _DELIVERY,
    ],
    "audit": [IndexModel([("org", ASCENDING), ("at", DESCENDING)])],
    "tombstones": [IndexModel([("at", ASCENDING)])],
    "observations": [IndexModel([("to", ASCENDING)])],
    "job_runs": [IndexModel([("at", ASCENDING)], expireAfterSeconds=30 * _DAY_S)],
}


async def migrate(database: Database) -> None:
    """Brings an empty or older database to `VERSION`; safe to run at every start and by several at once."""
    existing = set(await database.list_collection_names())
    for name in CLUSTERED:
        if name not in existing:
            await _create(database, name, clusteredIndex={"key": {"_id": 1}, "unique": True})
    for name, indexes in INDEXES.items():
        await database[name].create_indexes(indexes)
    await database["schema_version"].update_one(
        {"_id": "schema"}, {"$max": {"version": VERSION}}, upsert=True
    )


async def _create(database: Database, name: str, **options: Any) -> None:
    try:
        await database.create_collection(name, storageEngine=_ZSTD, **options)
    except CollectionInvalid:  # another process was faster
        return
