"""Live readings and events as Server-Sent Events (WHATWG HTML, 9.2)."""

import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from api.access import Authorized, caller
from api.device_forms import Slug
from api.fanout import Frame, Viewer
from api.services import Services, Using

router = APIRouter(tags=["live"], dependencies=[Depends(caller)])

KEEP_ALIVE_S = 15.0
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the second: nginx must not hold frames


class LiveQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    device: Annotated[Slug | None, Field(description="Only this device")] = None
    access_token: Annotated[
        str | None, Field(max_length=4096, description="For EventSource, which sends no headers")
    ] = None


@router.get(
    "/live",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": "event: readings\n"
                    'data: {"type":"readings","at":1795348800250,"devices":'
                    '{"boiler-1":{"ts":1795348800000,"values":{"temperature":21.4}}}}\n\n',
                }
            }
        }
    },
)
async def watch(
    query: Annotated[LiveQuery, Query()], caller: Authorized, services: Using
) -> StreamingResponse:
    """`readings` and `event` of the caller's organisation from now on; `lagged` tells how many frames a slow
    client missed. A comment every 15 s keeps the way open; the stream ends when the access token does."""
    frames = _stream(services, caller.org, query.device, caller.expires)
    return StreamingResponse(frames, media_type="text/event-stream", headers=_HEADERS)


async def _stream(
    services: Services, org: str, device: str | None, expires: int | None
) -> AsyncIterator[bytes]:
    with services.fanout.viewing(org) as viewer:
        quiet_since = time.monotonic()
        while not viewer.is_closed:
            left_s = expires - time.time() if expires else KEEP_ALIVE_S
            if left_s <= 0:
                yield _comment("the access token has expired")
                return
            quiet_s = time.monotonic() - quiet_since
            chunk = await _next(viewer, device, min(KEEP_ALIVE_S - quiet_s, left_s))
            if not chunk and time.monotonic() - quiet_since >= KEEP_ALIVE_S:
                chunk = _comment("keep-alive")
            if chunk:
                yield chunk
                quiet_since = time.monotonic()
        yield _comment("closing")


async def _next(viewer: Viewer, device: str | None, timeout_s: float) -> bytes:
    """What waits, as one write."""
    items, missed = await viewer.take(timeout_s)
    parts = [b'event: lagged\ndata: {"frames":%d}\n\n' % missed] if missed else []
    parts += [_event(item, device) for item in items]
    return b"".join(parts)


def _event(item: Frame | str, device: str | None) -> bytes:
    if isinstance(item, str):
        return _comment(item)
    data = item.data(device)
    return b"event: %s\ndata: %s\n\n" % (item.type.encode(), data) if data else b""


def _comment(text: str) -> bytes:
    return f": {text}\n\n".encode()
