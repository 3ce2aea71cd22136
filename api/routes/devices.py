"""The registry: creating, reading, changing and deleting devices, and their secrets."""

import asyncio
import re
import secrets
from contextlib import suppress
from datetime import datetime
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import Field

from api.access import Authorized, caller
from api.answers import answer, etag
from api.clock import now
from api.device_forms import (
    FIELDS,
    CreatedDevice,
    DeviceForm,
    DeviceOut,
    DevicePage,
    DevicePatch,
    SecretOut,
    device_out,
)
from api.paging import cursor, position, select
from api.problems import Invalid, NotFound, Outdated, Taken, Unavailable
from api.routes.queries import NO_QUERY, Cursored, Fields
from api.services import Services, Using
from broker.gate import GateError
from core.events import EventKind
from core.secrets import SALT_BYTES, HashedSecret, hash_secret
from store.devices import Device, NewDevice
from store.errors import Conflict, StoreAway, VersionMismatch

log = structlog.get_logger()
router = APIRouter(tags=["devices"], dependencies=[Depends(caller)])

SECRET_BYTES = 24
PURGE_S = 5.0  # what is not purged by then is left to the job that follows the tombstone
_VERSION = re.compile(r'"(\d{1,18})"')

IfMatch = Annotated[
    str | None, Header(alias="If-Match", description="The ETag that the caller read", examples=['"1"'])
]


async def the_device(device: str, caller: Authorized, services: Using) -> Device:
    """The device of the path in the caller's organisation; raises `NotFound`."""
    found = await services.devices.get(caller.org, device)
    if found is None:
        raise NotFound(f"no device {device[:63]!r}")
    return found


TheDevice = Annotated[Device, Depends(the_device)]


class Listing(Cursored, Fields):
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


@router.get("/devices", response_model=DevicePage)
async def list_devices(query: Annotated[Listing, Query()], caller: Authorized, services: Using) -> Response:
    """In the order of their names."""
    after = position("devices", query.cursor)
    found = await services.devices.page(caller.org, _text(after), query.limit + 1)
    page = found[: query.limit]
    following = cursor("devices", page[-1].device.encode()) if len(found) > query.limit else None
    items = select(query.fields, map(device_out, page), FIELDS)
    return answer({"items": items, "next_cursor": following})


@router.post("/devices", status_code=201, response_model=CreatedDevice, dependencies=NO_QUERY)
async def create_device(form: DeviceForm, caller: Authorized, services: Using) -> Response:
    """The answer holds the device's secret, this once. The device can connect when the answer is there."""
    secret, at = secrets.token_urlsafe(SECRET_BYTES), now()
    new = NewDevice(org=caller.org, **{**form.model_dump(), "tags": tuple(form.tags)})
    try:
        device = await services.devices.create(new, _hashed(secret), at)
    except Conflict:
        raise Taken(f"there is a device {form.device!r}", code="device_exists") from None
    try:
        await services.gate.admit(device.path, secret)
    except GateError as error:
        await _undo_create(services, device)
        raise _untold(error) from error
    body = device_out(device)
    await services.announcer.changed(
        device, caller.actor, "device.create", at, after=form.model_dump(), event=EventKind.CREATED
    )
    headers = {"Location": f"/api/v1/devices/{device.device}", **etag(device)}
    return answer({**body, "secret": secret}, 201, headers)


@router.get("/devices/{device}", response_model=DeviceOut)
async def read_device(device: TheDevice, query: Annotated[Fields, Query()]) -> Response:
    return answer(select(query.fields, [device_out(device)], FIELDS)[0], headers=etag(device))


@router.patch("/devices/{device}", response_model=DeviceOut, dependencies=NO_QUERY)
async def patch_device(
    device: TheDevice, patch: DevicePatch, caller: Authorized, services: Using, if_match: IfMatch = None
) -> Response:
    """What is left out stays; tags and metadata are replaced whole; null clears the others."""
    changes = patch.model_dump(exclude_unset=True)
    if not changes:
        raise Invalid(f"the body changes nothing; it may hold {', '.join(DevicePatch.model_fields)}")
    at = now()
    try:
        changed = await services.devices.patch(
            caller.org, device.device, changes, at, version=_version(if_match)
        )
    except VersionMismatch as error:
        raise _outdated(if_match, error.found) from None
    if changed is None:
        raise NotFound(f"no device {device.device!r}")
    before = {name: getattr(device, name) for name in changes}
    await services.announcer.changed(changed, caller.actor, "device.patch", at, before=before, after=changes)
    return answer(device_out(changed), headers=etag(changed))


@router.delete("/devices/{device}", status_code=204, dependencies=NO_QUERY)
async def delete_device(
    device: TheDevice, caller: Authorized, services: Using, if_match: IfMatch = None
) -> None:
    """Cuts the device's connection, then removes it with all its data."""
    if _version(if_match) not in (None, device.version):
        raise _outdated(if_match, device.version)
    at = now()
    try:
        await services.gate.expel(device.path)
    except GateError as error:
        raise _untold(error) from error
    await services.devices.delete(caller.org, device.device, at)
    with suppress(GateError):  # it may have come back in between, where the broker asks the registry
        await services.gate.expel(device.path)
    await services.announcer.clear_status(device)
    before = {name: getattr(device, name) for name in DevicePatch.model_fields}
    await services.announcer.changed(
        device, caller.actor, "device.delete", at, before=before, event=EventKind.DELETED
    )
    await _purge(services, device, at)


@router.post("/devices/{device}/credentials/rotate", response_model=SecretOut, dependencies=NO_QUERY)
async def rotate_secret(device: TheDevice, caller: Authorized, services: Using) -> Response:
    """A new secret, shown this once; the old one ends now, with the connection that used it."""
    secret, at = secrets.token_urlsafe(SECRET_BYTES), now()
    old = await services.devices.credential(device.path)
    if not old or not await services.devices.replace_secret(caller.org, device.device, _hashed(secret), at):
        raise NotFound(f"no device {device.device!r}")
    try:
        await services.gate.admit(device.path, secret)
    except GateError as error:
        await services.devices.replace_secret(caller.org, device.device, old, at)
        raise _untold(error) from error
    await services.announcer.changed(device, caller.actor, "device.rotate_secret", at)
    return answer({"secret": secret})


async def _undo_create(services: Services, device: Device) -> None:
    try:
        await services.devices.delete(device.org, device.device, now())
    except StoreAway as error:
        log.error("device_left_unadmitted", device=device.path, error=str(error))


async def _purge(services: Services, device: Device, at: datetime) -> None:
    try:
        async with asyncio.timeout(PURGE_S):
            await services.purge.device(device.id)
            await services.purge.letters(device.org, device.device, at)
            await services.traces.remove(device.id, device.org, device.device)
    except (StoreAway, TimeoutError) as error:
        log.warning("purge_postponed", device=device.path, error=str(error) or f"took over {PURGE_S:g} s")


def _hashed(secret: str) -> HashedSecret:
    return hash_secret(secret, secrets.token_bytes(SALT_BYTES))


def _text(raw: bytes | None) -> str | None:
    return raw.decode(errors="replace") if raw is not None else None


def _version(if_match: str | None) -> int | None:
    """None where any version will do; -1, which is no version, for a tag that is none of ours."""
    if if_match is None or if_match.strip() == "*":
        return None
    match = _VERSION.fullmatch(if_match.strip())
    return int(match[1]) if match else -1


def _outdated(if_match: str | None, found: int) -> Outdated:
    return Outdated(f'If-Match is {if_match}, the device is at "{found}"')


def _untold(error: GateError) -> Unavailable:
    log.warning("gate_away", error=str(error))
    return Unavailable("the broker could not be told, so nothing was changed; try again", code="broker_away")
