"""The read side of `telemetry` and `heartbeats`: pages of one device's readings, and buckets of time.

Every query is one range of keys of the clustered collection (see `store.keys`), so its cost is what lies in
the range, never what else is stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pymongo
from bson import ObjectId
from pymongo.errors import ExecutionTimeout, NetworkTimeout

from store.errors import StoreError
from store.keys import device_range, ts_of
from store.mongo import Database, Document, away_as_store_error

Aggregate = Literal["avg", "min", "max", "sum", "count", "first", "last"]


class QueryTooSlow(StoreError):
    """The aggregation did not finish within its budget."""


class Span(NamedTuple):
    """`start` <= ts < `end`, ms since 1970."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Reading:
    """`ts` in ms; `device_ts`: the device's own time in ms where it was refused and `ts` is the server's."""

    ts: int
    values: dict[str, Any]
    device_ts: int | None = None


@dataclass(frozen=True, slots=True)
class Buckets:
    """Column-wise: `starts` in ms, ascending, of the buckets that hold readings; per key and aggregate a
    column as long as `starts`, None (sum and count: 0) where a bucket has nothing to aggregate."""

    starts: list[int]
    columns: dict[str, dict[Aggregate, list[Any]]]


class Series:
    """Reads one clustered collection. Every method raises `StoreAway` where MongoDB cannot be reached."""

    def __init__(self, database: Database, name: Literal["telemetry", "heartbeats"], budget_s: float) -> None:
        self._collection = database[name]
        self._budget_s = budget_s

    async def page(
        self, device_id: str, span: Span, limit: int, *, ascending: bool, keys: Sequence[str] = ()
    ) -> list[Reading]:
        """The first `limit` readings of `span` in the order asked for; with `keys`, those that hold one."""
        query: Document = {"_id": _range(device_id, span)}
        projection: Document = {"v": 1, "device_ts": 1}
        if keys:
            query["$or"] = [{f"v.{name}": {"$exists": True}} for name in keys]
            projection = {"device_ts": 1, **{f"v.{name}": 1 for name in keys}}
        cursor = self._collection.find(query, projection).sort("_id", 1 if ascending else -1).limit(limit)
        with away_as_store_error():
            documents = await cursor.to_list()
        return [_reading(document) for document in documents]

    async def keys(self, device_id: str, span: Span) -> list[str]:
        """Every key that occurs in the span."""
        found = await self._aggregate(
            [
                {"$match": {"_id": _range(device_id, span)}},
                {"$group": {"_id": None, "v": {"$mergeObjects": "$v"}}},
            ]
        )
        return sorted(found[0]["v"]) if found else []

    async def buckets(
        self, device_id: str, span: Span, width_ms: int, keys: Sequence[str], aggregates: Sequence[Aggregate]
    ) -> Buckets:
        """Buckets begin at multiples of `width_ms` since 1970. Raises `QueryTooSlow`.

        avg, min, max, sum and count see numbers only (a boolean is none); first and last see every value.
        """
        names = {(name, kind): f"c{index}" for index, (name, kind) in enumerate(_pairs(keys, aggregates))}
        start = {"$subtract": [{"$toLong": "$ts"}, {"$mod": [{"$toLong": "$ts"}, width_ms]}]}
        columns = {field: _accumulator(name, kind) for (name, kind), field in names.items()}
        rows = await self._aggregate(
            [
                {"$match": {"_id": _range(device_id, span)}},
                {"$group": {"_id": start, **columns}},
                {"$sort": {"_id": 1}},
            ]
        )
        return Buckets(
            [int(row["_id"]) for row in rows],
            {
                name: {kind: [_result(kind, row[names[name, kind]]) for row in rows] for kind in aggregates}
                for name in keys
            },
        )

    async def _aggregate(self, pipeline: list[Document]) -> list[Document]:
        with away_as_store_error():
            try:
                with pymongo.timeout(self._budget_s):
                    cursor = await self._collection.aggregate(pipeline)
                    return await cursor.to_list()
            except (ExecutionTimeout, NetworkTimeout) as error:
                raise QueryTooSlow(f"the query did not finish within {self._budget_s:g} s") from error


def _range(device_id: str, span: Span) -> dict[str, bytes]:
    return device_range(ObjectId(device_id), span.start, span.end)


def _reading(document: Document) -> Reading:
    return Reading(ts_of(document["_id"]), document.get("v", {}), document.get("device_ts"))


def _pairs(keys: Sequence[str], aggregates: Sequence[Aggregate]) -> list[tuple[str, Aggregate]]:
    return [(name, kind) for name in keys for kind in aggregates]


def _accumulator(name: str, kind: Aggregate) -> Document:
    value = f"$v.{name}"
    number = {"$cond": [{"$isNumber": value}, value, None]}  # $avg and $sum pass over the rest by themselves
    # Documents compare field by field, so the least of {t, x} is the earliest; readings without the key are
    # null, which $min and $max pass over. $first and $last would take those too.
    stamped = {"$cond": [{"$eq": [{"$type": value}, "missing"]}, None, {"t": "$_id", "x": value}]}
    match kind:
        case "first":
            return {"$min": stamped}
        case "last":
            return {"$max": stamped}
        case "avg" | "sum":
            return {f"${kind}": value}
        case "count":
            return {"$sum": {"$cond": [{"$isNumber": value}, 1, 0]}}
    return {f"${kind}": number}


def _result(kind: Aggregate, value: Any) -> Any:
    if kind in ("first", "last"):
        return value["x"] if value is not None else None
    return value
