"""Ranges and buckets against the same thing computed in plain Python."""

import random
import secrets
import statistics
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from bson import ObjectId

from store import mongo, schema
from store.keys import key
from store.mongo import Database
from store.readings import Aggregate, QueryTooSlow, Series, Span

START = 1_767_225_600_000


@pytest.fixture
async def database(mongo_url: str) -> AsyncIterator[Database]:
    async with mongo.connect(mongo_url, f"series-{secrets.token_hex(4)}", 10) as database:
        await schema.migrate(database)
        yield database
        await database.client.drop_database(database.name)


async def store(database: Database, device: ObjectId, readings: dict[int, dict[str, Any]]) -> None:
    await database["telemetry"].insert_many(
        {"_id": key(device, ts), "ts": datetime.fromtimestamp(ts / 1000, UTC), "v": values}
        for ts, values in readings.items()
    )


def by_hand(values: list[Any]) -> dict[Aggregate, Any]:
    """`values` in the order of time."""
    numbers = [value for value in values if type(value) in (int, float)]
    return {
        "avg": pytest.approx(statistics.fmean(numbers)) if numbers else None,
        "min": min(numbers, default=None),
        "max": max(numbers, default=None),
        "sum": pytest.approx(sum(numbers)),
        "count": len(numbers),
        "first": values[0] if values else None,
        "last": values[-1] if values else None,
    }


@pytest.mark.parametrize("seed", range(3))
async def test_buckets_equal_plain_python(database: Database, seed: int) -> None:
    rng = random.Random(seed)
    device, neighbours = ObjectId(), [ObjectId(), ObjectId()]
    kinds: list[Callable[[], Any]] = [
        lambda: rng.uniform(-1e6, 1e6),
        lambda: rng.randint(-9, 9),
        lambda: rng.random() < 0.5,
        lambda: "x",
    ]
    readings = {
        START + rng.randrange(6 * 3_600_000): {
            name: rng.choice(kinds)() for name in ("a", "b c", "ü-1") if rng.random() < 0.7
        }
        for _ in range(2000)
    }
    for owner in (device, *neighbours):
        await store(database, owner, readings if owner is device else {START + 1: {"a": 1e9}})
    span, width = Span(START + 1000, START + 5 * 3_600_000 + 7), rng.choice([60_000, 420_000, 3_600_000])
    series = Series(database, "telemetry", 10)
    aggregates = list(get_args(Aggregate))
    found = await series.buckets(str(device), span, width, ["a", "b c", "ü-1"], aggregates)
    inside = {ts: readings[ts] for ts in sorted(readings) if span.start <= ts < span.end}
    assert found.starts == sorted({ts - ts % width for ts in inside})
    assert await series.keys(str(device), span) == ["a", "b c", "ü-1"]
    for name, columns in found.columns.items():
        for index, start in enumerate(found.starts):
            values = [v[name] for ts, v in inside.items() if ts - ts % width == start and name in v]
            assert {kind: columns[kind][index] for kind in aggregates} == by_hand(values), (name, index)


async def test_a_page_is_one_bounded_scan_of_its_range(database: Database) -> None:
    device = ObjectId()
    await store(database, device, {START + n: {"n": n} for n in range(1000)})
    query = {"_id": {"$gte": key(device, START + 500), "$lt": key(device, START + 600)}}
    command = {"find": "telemetry", "filter": query, "sort": {"_id": -1}, "limit": 10}
    explained = await database.command("explain", command, verbosity="executionStats")
    assert explained["executionStats"]["totalDocsExamined"] <= 11
    page = await Series(database, "telemetry", 5).page(
        str(device), Span(START + 500, START + 600), 10, ascending=False
    )
    assert [reading.ts for reading in page] == [START + 599 - n for n in range(10)]


async def test_a_query_over_its_budget_is_refused_as_such(database: Database) -> None:
    device = ObjectId()
    for block in range(6):
        await store(database, device, {START + block * 10_000 + n: {"n": n} for n in range(10_000)})
    await mongo.ping(database)
    with pytest.raises(QueryTooSlow, match=r"within 0\.02 s"):
        await Series(database, "telemetry", 0.02).buckets(
            str(device), Span(0, 2 * START), 1000, ["n"], list(get_args(Aggregate))
        )
