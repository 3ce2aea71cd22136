"""Spans of time in which an ingest proved its path from the broker open, one document a span."""

from datetime import UTC, datetime

from core.silence import Span
from store.mongo import Database, away_as_store_error


class Observations:
    """Every method raises `StoreAway` where MongoDB cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._spans = database["observations"]

    async def extend(self, ingest_id: str, start: float, end: float) -> None:
        """The span of `ingest_id` that began at `start` now reaches to `end` (seconds since 1970)."""
        update = {"$max": {"to": _time(end)}, "$setOnInsert": {"ingest": ingest_id, "from": _time(start)}}
        with away_as_store_error():
            await self._spans.update_one({"_id": f"{ingest_id}:{start:.3f}"}, update, upsert=True)

    async def all(self) -> dict[str, list[Span]]:
        """Ingest → its spans, in no order."""
        spans: dict[str, list[Span]] = {}
        with away_as_store_error():
            async for document in self._spans.find():
                span = (document["from"].timestamp(), document["to"].timestamp())
                spans.setdefault(document["ingest"], []).append(span)
        return spans

    async def forget(self, before: float) -> int:
        """Drops the spans that ended before; their number."""
        with away_as_store_error():
            result = await self._spans.delete_many({"to": {"$lt": _time(before)}})
        return result.deleted_count


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
