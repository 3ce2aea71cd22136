"""Stored readings: raw pages, buckets, the newest values."""

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from api import buckets
from api.access import caller
from api.answers import answer
from api.clock import device_time
from api.device_forms import Time
from api.paging import cursor, position
from api.problems import Invalid
from api.routes.devices import TheDevice
from api.routes.queries import NO_QUERY, Ranged
from api.services import Services, Using
from core.timestamps import iso
from store.readings import Reading, Series, Span

router = APIRouter(tags=["readings"], dependencies=[Depends(caller)])

Order = Literal["desc", "asc"]
Parsed = TypeVar("Parsed")

_VALUES = {"temperature": 21.4, "door": True}


class ReadingsQuery(Ranged):
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100
    order: Order = "desc"


class TelemetryQuery(ReadingsQuery):
    keys: Annotated[
        str | None, Field(max_length=4096, description="Comma-separated", examples=["temperature"])
    ] = None
    bucket: Annotated[
        str | None, Field(max_length=10, description="Width of a bucket, 1s to 1d", examples=["5m"])
    ] = None
    agg: Annotated[
        str | None,
        Field(
            max_length=100,
            description="avg, min, max, sum, count, first, last; needs `bucket`",
            examples=["avg"],
        ),
    ] = None


class ReadingOut(BaseModel):
    ts: Time
    values: Annotated[dict[str, Any], Field(examples=[_VALUES])]
    device_ts: Annotated[
        Time | None, Field(description="The device's own time, where it was not believed")
    ] = None


class ReadingPage(BaseModel):
    items: list[ReadingOut]
    next_cursor: str | None


class BucketsOut(BaseModel):
    """Columns of equal length; buckets without readings are left out."""

    bucket: Annotated[str, Field(examples=["5m"])]
    ts: Annotated[list[Time], Field(description="Begin of each bucket")]
    columns: Annotated[
        dict[str, dict[str, list[Any]]],
        Field(examples=[{"temperature": {"avg": [21.4, 21.6], "max": [22.0, 22.1]}}]),
    ]


class LatestValue(BaseModel):
    ts: Time
    value: Annotated[Any, Field(examples=[21.4])]


class LatestOut(BaseModel):
    values: dict[str, LatestValue]


@router.get("/devices/{device}/telemetry", response_model=ReadingPage | BucketsOut)
async def read_telemetry(
    device: TheDevice, query: Annotated[TelemetryQuery, Query()], services: Using
) -> Response:
    """Raw readings, newest first unless `order=asc`; with `bucket` and `agg` columns per key.

    `from` is inside the span, `to` is not. A key in `keys` leaves out readings that hold none of them.
    Buckets begin at multiples of their width since 1970, in UTC. avg, min, max, sum and count see numbers,
    and true and false are none; first and last see every value.
    """
    keys = _parsed("keys", buckets.keys, query.keys) if query.keys is not None else []
    if query.bucket is None:
        if query.agg is not None:
            raise Invalid("agg needs bucket, such as bucket=5m")
        return await _page("telemetry", services.telemetry, device.id, query, keys)
    return await _buckets(services, device.id, query, query.bucket, keys)


@router.get("/devices/{device}/heartbeats", response_model=ReadingPage)
async def read_heartbeats(
    device: TheDevice, query: Annotated[ReadingsQuery, Query()], services: Using
) -> Response:
    return await _page("heartbeats", services.heartbeats, device.id, query, [])


@router.get("/devices/{device}/latest", response_model=LatestOut, dependencies=NO_QUERY)
async def read_latest(device: TheDevice, services: Using) -> Response:
    """The newest value of every key by the reading's own time, never by its arrival."""
    found = await services.latest.get(device.id)
    return answer({"values": {key: {"ts": iso(ts), "value": value} for key, (ts, value) in found.items()}})


async def _page(
    listing: str, series: Series, device_id: str, query: ReadingsQuery, keys: Sequence[str]
) -> Response:
    ascending = query.order == "asc"
    kind = f"{listing}:{query.order}"
    span = _after(query.span(), position(kind, query.cursor), ascending)
    found = await series.page(device_id, span, query.limit + 1, ascending=ascending, keys=keys)
    page = found[: query.limit]
    following = cursor(kind, b"%d" % page[-1].ts) if len(found) > query.limit else None
    return answer({"items": [_reading_out(reading) for reading in page], "next_cursor": following})


def _after(span: Span, place: bytes | None, ascending: bool) -> Span:
    """What is left of the span after the reading that the cursor names; a device has one a millisecond."""
    if place is None:
        return span
    if not place.isdigit() or len(place) > 15:
        raise Invalid("the cursor does not belong to this listing", code="invalid_cursor")
    ts = int(place)
    return Span(max(span.start, ts + 1), span.end) if ascending else Span(span.start, min(span.end, ts))


def _reading_out(reading: Reading) -> dict[str, Any]:
    out: dict[str, Any] = {"ts": iso(reading.ts), "values": reading.values}
    if reading.device_ts is not None:
        out["device_ts"] = device_time(reading.device_ts)
    return out


async def _buckets(
    services: Services, device_id: str, query: TelemetryQuery, bucket: str, keys: list[str]
) -> Response:
    if query.from_ is None:
        raise Invalid("bucket needs from; to is now where it is left out")
    if query.cursor is not None or (query.order == "desc" and "order" in query.model_fields_set):
        raise Invalid("buckets come whole and in ascending order: leave out cursor and order")
    width_ms = _parsed("bucket", buckets.width, bucket)
    kinds = _parsed("agg", buckets.aggregates, query.agg or "avg")
    span = _until_now(query)
    keys = keys or await _keys_in(services, device_id, span)
    _parsed("bucket", lambda _: buckets.check_size(span, width_ms, len(keys) * len(kinds)), bucket)
    found = await services.telemetry.buckets(device_id, span, width_ms, keys, kinds)
    return answer({"bucket": bucket, "ts": [iso(start) for start in found.starts], "columns": found.columns})


def _until_now(query: TelemetryQuery) -> Span:
    if query.to is not None:
        return query.span()
    now_ms = int(time.time() * 1000)
    return query.model_copy(update={"to": iso(now_ms)}).span()


async def _keys_in(services: Services, device_id: str, span: Span) -> list[str]:
    keys = await services.telemetry.keys(device_id, span)
    if len(keys) > buckets.MAX_KEYS:
        raise Invalid(f"{len(keys)} keys in this span; the limit is {buckets.MAX_KEYS}: name some with keys=")
    return keys


def _parsed(name: str, parse: Callable[[str], Parsed], text: str) -> Parsed:
    try:
        return parse(text)
    except ValueError as error:
        raise Invalid(f"{name}: {error}", errors=[{"at": f"query.{name}", "detail": str(error)}]) from None
