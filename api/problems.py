"""Every error that the api answers, as problem+json (RFC 9457), and the one place where they are made.

Problem
├── Malformed        400  the request cannot be read
├── Unauthenticated  401  no credential, or not a valid one
├── Forbidden        403  known, but the role is not enough
├── NotFound         404  no such object in the caller's organisation
├── Taken            409  a unique name is in use
├── Outdated         412  If-Match names another version than the current
├── TooLarge         413
├── Invalid          422  readable, but a value breaks a rule; `errors` says which
└── Unavailable      503  a dependency is away; with Retry-After

`type` is `about:blank`, so `title` is the status's own phrase; `code` tells programs what happened.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

import msgspec
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from broker.login import BrokerAway
from store.errors import StoreAway
from store.readings import QueryTooSlow

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
_MAX_ERRORS = 20
_MAX_SHOWN = 100  # characters
_SECRETS = {"password", "refresh_token", "access_token", "secret"}


class Problem(HTTPException):
    """An HTTPException, so that it passes through FastAPI's body parsing as it is."""

    status = 500
    code = "internal_error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        """`members` become extension members of the body."""
        super().__init__(self.status, detail, dict(headers or {}))
        self.code = code or self.code
        self.members = members


class Malformed(Problem):
    status, code = 400, "malformed"


class Unauthenticated(Problem):
    status, code = 401, "unauthenticated"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"WWW-Authenticate": 'Bearer realm="sluice"'})


class Forbidden(Problem):
    status, code = 403, "forbidden"


class NotFound(Problem):
    status, code = 404, "not_found"


class Taken(Problem):
    status, code = 409, "taken"


class Outdated(Problem):
    status, code = 412, "outdated"


class TooLarge(Problem):
    status, code = 413, "too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than {limit} bytes", limit=limit)


class Invalid(Problem):
    status, code = 422, "invalid"


class Unavailable(Problem):
    status, code = 503, "unavailable"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(RETRY_AFTER_S)})


def respond(request: Request, problem: Problem) -> Response:
    return _response(request, problem.status, problem.detail, problem.code, problem.headers, problem.members)


def install(app: FastAPI) -> None:
    """Makes every error of `app` a problem; what is not expected is caught by `api.middleware`."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(StoreAway, _store_away)
    app.add_exception_handler(BrokerAway, _broker_away)
    app.add_exception_handler(QueryTooSlow, _too_slow)


async def _http(request: Request, error: Exception) -> Response:
    """Ours as they are; the framework's (unknown path, wrong method, unreadable body) by their status."""
    if isinstance(error, Problem):
        return respond(request, error)
    raised = cast("HTTPException", error)
    headers = dict(raised.headers or {})
    match raised.status_code:
        case 404:
            return _response(request, 404, f"no such path: {request.url.path}", "not_found", headers)
        case 405:
            allowed = ", ".join(_methods(request))
            detail = f"{request.method} is not allowed here; allowed: {allowed}"
            return _response(request, 405, detail, "method_not_allowed", {"Allow": allowed})
        case status:
            code = HTTPStatus(status).name.lower()
            return _response(request, status, str(raised.detail), code, headers)


def _methods(request: Request) -> list[str]:
    """Of every route with this path: the framework names those of the first one only."""
    return sorted(
        method
        for route in iter_route_contexts(request.app.routes)
        if route.path and compile_path(route.path)[0].match(request.url.path)
        for method in route.methods or ()
    )


async def _validation(request: Request, error: Exception) -> Response:
    found = cast("RequestValidationError", error).errors()
    if found[0]["type"] == "json_invalid":
        reason = found[0]["ctx"]["error"]
        return respond(request, Malformed(f"the body is not JSON: {reason}", code="invalid_json"))
    errors = [{"at": _place(item["loc"]), "detail": _reason(item)} for item in found[:_MAX_ERRORS]]
    first = errors[0]
    return respond(request, Invalid(f"{first['at']}: {first['detail']}", errors=errors))


async def _store_away(request: Request, error: Exception) -> Response:
    log.warning("store_away", path=request.url.path, error=str(error))
    return respond(request, Unavailable("a database is away; try again", code="store_away"))


async def _broker_away(request: Request, error: Exception) -> Response:
    log.warning("broker_away", path=request.url.path, error=str(error))
    return respond(request, Unavailable("the broker is away; try again", code="broker_away"))


async def _too_slow(request: Request, error: Exception) -> Response:
    return respond(request, Invalid(f"{error}: narrow from/to, or name fewer keys", code="query_too_slow"))


def _place(location: Sequence[str | int]) -> str:
    """`body.tags.0`. A key that was sent may be long, or half a surrogate pair, which no answer can hold."""
    return ".".join(str(step)[:_MAX_SHOWN] for step in location).encode(errors="replace").decode()


def _reason(item: Mapping[str, Any]) -> str:
    """The rule in words; a value is named where it is short and plain."""
    message = str(item["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    value = item.get("input")
    is_secret = not _SECRETS.isdisjoint(map(str, item["loc"]))
    if isinstance(value, str | int | float | bool) and len(str(value)) <= _MAX_SHOWN and not is_secret:
        return f"{message} (got {value!r})"
    return message


def _response(
    request: Request,
    status: int,
    detail: str,
    code: str,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> Response:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "instance": request.url.path,
        "request_id": request.scope.get("state", {}).get("request_id"),
        **(members or {}),
    }
    content = msgspec.json.encode(body)
    return Response(content, status, dict(headers or {}), MEDIA_TYPE)
