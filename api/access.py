"""Who may call what: one table, and the dependency that holds every route to it.

A route that is missing in the table answers nobody; a test compares the table with the routes.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from api.problems import Forbidden, NotFound, Unauthenticated
from api.services import Services, services_of
from api.tokens import TokenError
from core.secrets import ITERATIONS, HashedSecret, matches
from store.users import Role

RANK: dict[Role, int] = {"viewer": 0, "operator": 1, "admin": 2, "owner": 3}


@dataclass(frozen=True, slots=True)
class Access:
    """`role`: the least that may call, None for anyone; `device`: the device itself may, by HTTP Basic with
    `org/device` and its secret; `in_query`: the token may come as `?access_token=` (RFC 6750, 2.3), for
    browsers' EventSource, which sends no headers."""

    role: Role | None
    device: bool = False
    in_query: bool = False


TABLE: dict[str, Access] = {
    "POST /auth/login": Access(None),
    "POST /auth/refresh": Access(None),
    "POST /auth/logout": Access(None),
    "GET /auth/me": Access("viewer"),
    "GET /devices": Access("viewer"),
    "POST /devices": Access("admin"),
    "GET /devices/{device}": Access("viewer"),
    "PATCH /devices/{device}": Access("operator"),
    "DELETE /devices/{device}": Access("admin"),
    "POST /devices/{device}/credentials/rotate": Access("admin"),
    "GET /devices/{device}/telemetry": Access("viewer"),
    "POST /devices/{device}/telemetry": Access("operator", device=True),
    "POST /devices/{device}/heartbeat": Access("operator", device=True),
    "GET /devices/{device}/latest": Access("viewer"),
    "GET /devices/{device}/events": Access("viewer"),
    "GET /devices/{device}/heartbeats": Access("viewer"),
    "GET /live": Access("viewer", in_query=True),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """`actor`: a user's id, or a device's path; `expires`: when the credential ends, in s since 1970."""

    org: str
    actor: str
    role: Role | None = None
    device: str | None = None
    expires: int | None = None


def access_of(method: str, path: str) -> Access | None:
    """The row of a route by its template, without the prefix of the api."""
    return TABLE.get(f"{method} {path}")


async def caller(request: Request) -> Caller:
    """Raises `Unauthenticated` or `Forbidden`; for a device that names another than itself, `NotFound`."""
    path: str = request.scope["route"].path
    access = access_of(request.method, path)
    if access is None or access.role is None:
        raise Forbidden(f"{request.method} {path} has no row in the permission table")
    found = await _authenticate(request, services_of(request), access)
    if found.role is None:
        if found.device != request.path_params.get("device"):
            raise NotFound(f"no device {request.path_params.get('device')!r}")
    elif RANK[found.role] < RANK[access.role]:
        raise Forbidden(f"this needs the role {access.role}; yours is {found.role}")
    return found


async def _authenticate(request: Request, services: Services, access: Access) -> Caller:
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic" and access.device:
        return await _device(services, credential)
    if not scheme and access.in_query:
        scheme, credential = "bearer", request.query_params.get("access_token", "")
    if scheme.lower() != "bearer" or not credential:
        raise Unauthenticated("an access token is needed: Authorization: Bearer …")
    try:
        claims = services.access_tokens.verify(credential.strip())
    except TokenError as error:
        raise Unauthenticated(str(error), code="invalid_token") from error
    return Caller(claims.org, claims.user_id, role=claims.role, expires=claims.expires)


async def _device(services: Services, credential: str) -> Caller:
    """A device by HTTP Basic: the user name and secret that it has for MQTT."""
    try:
        path, _, secret = base64.b64decode(credential, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthenticated("the Basic credential is not base64 of user:secret") from None
    hashed = await services.devices.credential(path)
    is_known = hashed is not None
    if not matches(secret, hashed or HashedSecret(b"nobody", ITERATIONS, b"")) or not is_known:
        raise Unauthenticated("unknown device or wrong secret", code="invalid_secret")
    org, _, device = path.partition("/")
    return Caller(org, path, device=device)


Authorized = Annotated[Caller, Depends(caller)]
