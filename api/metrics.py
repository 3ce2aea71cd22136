"""What the api counts, in the registry that it is given."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """`route` is a route's template, never a path: paths would make a series each."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._requests = Counter(
            "sluice_http_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "sluice_http_request_seconds",
            "From the request's head to the last byte of the response",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.live_clients = Gauge("sluice_live_clients", "Open /live streams", registry=registry)
        self.live_dropped = Counter(
            "sluice_live_frames_dropped", "Frames that slow /live clients missed", registry=registry
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """`status` 0: the client left before an answer began."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def render(self) -> bytes:
        """The registry in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)
