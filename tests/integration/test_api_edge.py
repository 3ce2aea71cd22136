"""What holds for every route: errors are problems, headers are safe, the document describes all of it."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.access import TABLE
from tests.services import HOST
from tests.sites import Site

PROBLEM = {"type", "title", "status", "detail", "code", "instance", "request_id"}


def check_problem(answer: httpx.Response, status: int | None = None) -> dict[str, Any]:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    assert body.keys() >= PROBLEM
    assert (body["status"], body["type"]) == (answer.status_code, "about:blank")
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert body["instance"] == answer.url.path
    assert status is None or answer.status_code == status, answer.text
    return body


@pytest.fixture
async def spec(anybody: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await anybody.get("/openapi.json")).json())


def operations(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for path, methods in spec["paths"].items():
        for method in methods:
            yield method.upper(), path


async def test_the_permission_table_and_the_document_name_the_same_routes(spec: dict[str, Any]) -> None:
    documented = {f"{method} {path.removeprefix('/api/v1')}" for method, path in operations(spec)}
    assert documented == set(TABLE)


async def test_every_route_answers_a_stranger_with_a_problem(site: Site, spec: dict[str, Any]) -> None:
    async with httpx.AsyncClient(base_url=site.url) as client:
        for method, path in operations(spec):
            answer = await client.request(method, path.replace("{device}", "boiler-1"), json={})
            is_public = TABLE[f"{method} {path.removeprefix('/api/v1')}"].role is None
            check_problem(answer, 422 if is_public else 401)


async def test_every_route_answers_wrong_methods_unread_bodies_and_odd_paths_with_a_problem(
    owner: httpx.AsyncClient, spec: dict[str, Any]
) -> None:
    for method, template in operations(spec):
        path = template.removeprefix("/api/v1").replace("{device}", "no-such-device")
        check_problem(await owner.request("OPTIONS", path), 405)
        check_problem(await owner.get(path + "/", params={"x": "y"}), 404)
        if method in ("POST", "PATCH"):
            for content in (b"{", b"\xff\xfe", b"[" * 100_000, b"null", b'"x"', b""):
                headers = {"Content-Type": "application/json"}
                answer = await owner.request(method, path, content=content, headers=headers)
                assert answer.status_code in (400, 404, 422), (method, path, content[:10], answer.text)
                check_problem(answer)
    check_problem(await owner.get("/nowhere"), 404)
    wrong = await owner.request("PUT", "/devices")
    assert "POST" in wrong.headers["Allow"]


async def test_no_route_ignores_a_query_parameter_it_does_not_know(
    owner: httpx.AsyncClient, spec: dict[str, Any], device: dict[str, Any]
) -> None:
    for method, template in operations(spec):
        path = template.removeprefix("/api/v1").replace("{device}", device["device"])
        answer = await owner.request(method, path, params={"surprise": "1"}, json={"name": "x"})
        assert "surprise" in check_problem(answer, 422)["detail"], (method, path)


async def test_every_operation_has_examples_a_problem_and_its_role(spec: dict[str, Any]) -> None:
    assert spec["openapi"].startswith("3.")
    for method, path in operations(spec):
        operation = spec["paths"][path][method.lower()]
        problem = operation["responses"]["default"]["content"]["application/problem+json"]
        assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}
        access = TABLE[f"{method} {path.removeprefix('/api/v1')}"]
        assert ("security" in operation) is (access.role is not None)
        assert access.role is None or f"Role: {access.role}." in operation["description"]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert "example" in json.dumps(content) or "$ref" in json.dumps(content)
    names = [operation["operationId"] for path in spec["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    assert "HTTPValidationError" not in json.dumps(spec)


async def test_headers_are_safe_and_say_nothing_of_the_server(owner: httpx.AsyncClient) -> None:
    for answer in (await owner.get("/devices"), await owner.get("/nowhere")):
        assert "server" not in answer.headers
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_a_request_id_is_kept_where_it_is_plain(owner: httpx.AsyncClient) -> None:
    kept = await owner.get("/devices", headers={"X-Request-Id": "abc-123"})
    assert kept.headers["X-Request-Id"] == "abc-123"
    made = await owner.get("/devices", headers={"X-Request-Id": "a b<script>"})
    assert made.headers["X-Request-Id"] != "a b<script>"


async def test_a_body_over_the_limit_is_413_declared_or_not(owner: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    declared = await owner.post("/devices", content=b" " * (2**20 + 1), headers=headers)
    assert check_problem(declared, 413)["limit"] == 2**20

    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 65_536

    check_problem(await owner.post("/devices", content=chunks(), headers=headers), 413)


async def test_what_is_not_http_is_answered_and_closed(site: Site) -> None:
    reader, writer = await asyncio.open_connection(HOST, site.settings.http.port)
    writer.write(b"\x10\x10nonsense\r\n\r\n")
    assert b"400" in await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def test_the_docs_page_needs_no_other_host(site: Site) -> None:
    async with httpx.AsyncClient(base_url=site.url) as client:
        page = await client.get("/docs")
        assert page.status_code == 200
        assert "https://" not in page.text
        assert "/api/v1/openapi.json" in page.text
        for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
            assert (await client.get(f"/docs/{name}")).status_code == 200
        for name in ("redoc.standalone.js", "..%2f__init__.py", "x"):
            check_problem(await client.get(f"/docs/{name}"), 404)


async def test_metrics_count_by_template(site: Site, owner: httpx.AsyncClient) -> None:
    await owner.get("/devices/some-device")
    async with httpx.AsyncClient(base_url=site.url) as client:
        await client.get("/random/path")
        text = (await client.get("/metrics")).text
    assert 'sluice_http_requests_total{method="GET",route="/devices/{device}",status="404"}' in text
    assert "some-device" not in text
    assert 'route="unmatched"' in text
    assert "random" not in text
    assert "sluice_http_request_seconds_bucket" in text
    assert "process_resident_memory_bytes" in text
