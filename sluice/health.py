"""`/healthz`, `/readyz` and `/metrics` of a process that is no HTTP server otherwise.

A thread of its own answers, so that a busy event loop is seen as slow metrics and not as a dead process.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Ready = Callable[[], tuple[bool, dict[str, Any]]]

LOOPBACK = "127.0.0.1"
_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared with


def address(http_host: str) -> str:
    """Where to listen: beyond this machine only where the API is told to listen on every address."""
    return http_host if http_host in _ANY else LOOPBACK


@contextmanager
def served(ready: Ready, registry: CollectorRegistry, port: int, host: str = LOOPBACK) -> Iterator[int]:
    """Serves until left; yields the port (0 asks for any free one). Raises `OSError` where it is taken.

    `ready` is called by the serving thread: it may only read what the process last noted of itself.
    """
    server = make_server(host, port, _app(ready, registry), _Server, _Quiet)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _app(ready: Ready, registry: CollectorRegistry) -> "WSGIApplication":
    metrics: WSGIApplication = make_wsgi_app(registry)

    def app(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return metrics(environ, start)
            case "/healthz":
                return _json(start, "200 OK", {"status": "ok"})
            case "/readyz":
                is_ready, detail = ready()
                status = "200 OK" if is_ready else "503 Service Unavailable"
                return _json(start, status, {"ready": is_ready, **detail})
        return _json(start, "404 Not Found", {"detail": "one of /healthz, /readyz, /metrics"})

    return app


def _json(start: "StartResponse", status: str, body: dict[str, Any]) -> list[bytes]:
    content = json.dumps(body).encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
    return [content]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False  # a client that hangs must not hold up the process's stop


class _Quiet(WSGIRequestHandler):
    timeout = 10  # s without a byte from the client

    def log_message(self, *_: Any) -> None:
        return
