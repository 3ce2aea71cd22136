"""What surrounds every request: its id, a bound on its body, safe headers, counters, and the last catch.

Plain ASGI, since a middleware that awaits whole responses would break streams.
"""

import re
import secrets
import time
from collections.abc import Iterable

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics
from api.problems import Problem, TooLarge, respond

log = structlog.get_logger()

MAX_BODY = 2**20  # bytes
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}


class Edge:
    """The outermost layer. A response may state its own value of any header set here."""

    def __init__(self, app: ASGIApp, metrics: Metrics, max_body: int = MAX_BODY) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        exchange = _Exchange(scope, receive, send, self._max_body)
        started = time.perf_counter()
        try:
            await self._answer(exchange)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            seconds = time.perf_counter() - started
            self._metrics.request(scope["method"], route, exchange.status, seconds)
        return None

    async def _answer(self, exchange: "_Exchange") -> None:
        try:
            exchange.refuse_declared_size()
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except Exception as error:
            if not isinstance(error, Problem):
                log.exception("request_failed", path=exchange.scope["path"], request_id=exchange.request_id)
                error = Problem("something went wrong here; the request id finds it in the log")
            if exchange.status:
                raise  # too late for another answer: the server closes the connection
            response = respond(Request(exchange.scope), error)
            await response(exchange.scope, exchange.receive, exchange.send)


class _Exchange:
    """One request and its response as they pass the edge; `status` is 0 until the response starts."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body: int) -> None:
        self.scope = scope
        self.status = 0
        self.request_id = _request_id(scope["headers"])
        self._receive = receive
        self._send = send
        self._max_body = max_body
        self._received = 0
        scope.setdefault("state", {})["request_id"] = self.request_id

    def refuse_declared_size(self) -> None:
        length = dict(self.scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body:
            raise TooLarge(self._max_body)

    async def receive(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._max_body:
            raise TooLarge(self._max_body)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._missing(message["headers"])]
        await self._send(message)

    def _missing(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        present = {name.lower() for name, _ in headers}
        ours = {**_HEADERS, b"x-request-id": self.request_id.encode()}
        return [(name, value) for name, value in ours.items() if name not in present]


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's own where it is short and plain, so that logs can be joined across services."""
    given = dict(headers).get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
