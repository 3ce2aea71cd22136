"""What a device wrote into its log."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from api.access import caller
from api.answers import answer
from api.clock import device_time
from api.device_forms import Time
from api.paging import cursor, position, select
from api.problems import Invalid
from api.routes.devices import TheDevice
from api.routes.queries import Fields, Ranged
from api.services import Using
from core.timestamps import iso
from store.event_log import TAIL, LogEntry

router = APIRouter(tags=["readings"], dependencies=[Depends(caller)])


class EventsQuery(Ranged, Fields):
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class EventOut(BaseModel):
    ts: Time
    level: Annotated[str | None, Field(examples=["warning"])] = None
    code: Annotated[str | None, Field(examples=["E17"])] = None
    message: Annotated[str | None, Field(examples=["flow sensor stuck"])] = None
    data: Annotated[Any, Field(examples=[{"flow": 0}])] = None
    device_ts: Time | None = None


class EventPage(BaseModel):
    items: list[EventOut]
    next_cursor: str | None


@router.get("/devices/{device}/events", response_model=EventPage)
async def read_events(device: TheDevice, query: Annotated[EventsQuery, Query()], services: Using) -> Response:
    """Newest first."""
    before = position("events", query.cursor)
    if before is not None and len(before) != TAIL:
        raise Invalid("the cursor does not belong to this listing", code="invalid_cursor")
    found = await services.event_log.page(device.id, query.span(), query.limit + 1, before)
    page = found[: query.limit]
    following = cursor("events", page[-1].position) if len(found) > query.limit else None
    items = select(query.fields, map(_event_out, page), EventOut.model_fields)
    return answer({"items": items, "next_cursor": following})


def _event_out(entry: LogEntry) -> dict[str, Any]:
    out = {
        "ts": iso(entry.ts),
        "level": entry.level,
        "code": entry.code,
        "message": entry.message,
        "data": entry.data,
    }
    if entry.device_ts is not None:
        out["device_ts"] = device_time(entry.device_ts)
    return out
