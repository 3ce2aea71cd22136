"""Readings and heartbeats of devices without MQTT: over the same broker into the same ingest."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from api.access import caller
from api.answers import answer
from api.problems import Invalid, TooLarge
from api.routes.devices import TheDevice
from api.routes.queries import NO_QUERY
from api.services import Services, Using
from core.topics import Uplink
from store.devices import Device

router = APIRouter(tags=["uplink"], dependencies=[Depends(caller), *NO_QUERY])

MAX_MESSAGE = 256 * 1024  # bytes, as over MQTT


def _documented(*examples: Any) -> dict[str, Any]:
    """The body is not parsed here: ingest has the one decoder, and the dead-letter inbox gets the bytes."""
    named = {f"form-{number}": {"value": value} for number, value in enumerate(examples, 1)}
    schema = {"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}
    content = {"application/json": {"schema": schema, "examples": named}}
    answers = {
        "200": {"description": "Committed: `stored`, or `merged` into what was stored"},
        "202": {"description": "The broker has it; the commit took longer than this call waits"},
    }
    return {"requestBody": {"required": True, "content": content}, "responses": answers}


@router.post(
    "/devices/{device}/telemetry",
    openapi_extra=_documented(
        {"temperature": 21.4},
        {"ts": "2026-11-22T12:00:00Z", "values": {"temperature": 21.4}},
        [{"ts": 1795348800, "temperature": 21.4}, {"ts": 1795348860, "temperature": 21.6}],
    ),
)
async def send_telemetry(device: TheDevice, request: Request, services: Using) -> Response:
    """The same forms as on `…/telemetry`. Answers after the commit; 422 where it went to the dead letters."""
    return await _send(services, device, Uplink.TELEMETRY, request)


@router.post(
    "/devices/{device}/heartbeat",
    openapi_extra=_documented({"battery": 87, "rssi": -67, "uptime": 86400, "firmware": "1.4.2"}),
)
async def send_heartbeat(device: TheDevice, request: Request, services: Using) -> Response:
    return await _send(services, device, Uplink.HEARTBEAT, request)


async def _send(services: Services, device: Device, kind: Uplink, request: Request) -> Response:
    outcome = await services.uplinks.send(device.path, kind, await _body(request))
    if outcome is None:
        detail = "the broker has it; the commit is not confirmed yet"
        return answer({"status": "accepted", "detail": detail}, 202)
    if outcome.status == "dead":
        members: dict[str, Any] = {"hint": outcome.hint} if outcome.hint else {}
        raise Invalid(outcome.detail or "refused by ingest", code=outcome.code or "dead_letter", **members)
    return answer({"status": outcome.status})


async def _body(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_MESSAGE:
        raise TooLarge(MAX_MESSAGE)
    body = await request.body()
    if len(body) > MAX_MESSAGE:
        raise TooLarge(MAX_MESSAGE)
    return body
