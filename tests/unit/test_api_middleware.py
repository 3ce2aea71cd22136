"""The edge: what no route expected is a problem too, and says nothing of its cause."""

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from api.metrics import Metrics
from api.middleware import Edge


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("the password is swordfish")


async def half_broken(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("too late")


def client(edge: Edge) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=edge), base_url="http://x")


async def test_an_unexpected_error_is_a_500_that_hides_its_cause() -> None:
    metrics = Metrics(CollectorRegistry())
    async with client(Edge(broken, metrics)) as http:
        answer = await http.get("/a")
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert answer.json()["code"] == "internal_error"
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    assert "swordfish" not in answer.text
    assert b'method="GET",route="unmatched",status="500"} 1.0' in metrics.render()


async def test_an_error_after_the_response_began_closes_the_connection() -> None:
    async with client(Edge(half_broken, Metrics(CollectorRegistry()))) as http:
        with pytest.raises(RuntimeError, match="too late"):
            await http.get("/a")
