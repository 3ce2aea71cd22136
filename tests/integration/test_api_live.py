"""Live frames as Server-Sent Events."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest

from store import redis
from store.live import readings_frame
from tests.services import HOST
from tests.sites import OTHER, Site, until


class Stream:
    """Reads a stream in the background: events as (name, data), comments as text."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.events: list[tuple[str, Any]] = []
        self.comments: list[str] = []
        self.is_over = False

    async def read(self) -> None:
        name = ""
        async for line in self.response.aiter_lines():
            if line.startswith(":"):
                self.comments.append(line[2:])
            elif line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                self.events.append((name, json.loads(line.removeprefix("data: "))))
        self.is_over = True

    def values(self, device: str) -> list[Any]:
        frames = [data["devices"] for name, data in self.events if name == "readings"]
        return [frame[device]["values"] for frame in frames if device in frame]


@asynccontextmanager
async def watching(client: httpx.AsyncClient, **query: str) -> AsyncIterator[Stream]:
    async with client.stream("GET", "/live", params=query) as response:
        assert response.status_code == 200, await response.aread()
        stream = Stream(response)
        task = asyncio.create_task(stream.read())
        try:

            async def is_live() -> bool:
                return "live" in stream.comments

            await until(is_live)
            yield stream
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_reading_appears_at_those_who_may_see_it(
    owner: httpx.AsyncClient, site: Site, device: dict[str, Any]
) -> None:
    name = device["device"]
    async with (
        site.client(OTHER) as other,
        watching(owner) as all_of_it,
        watching(owner, device=name) as one,
        watching(owner, device="another") as none,
        watching(other) as foreign,
    ):
        assert all_of_it.response.headers["Content-Type"].startswith("text/event-stream")
        assert (await owner.post(f"/devices/{name}/telemetry", json={"n": 1})).status_code == 200

        async def arrived() -> bool:
            return {"n": 1} in all_of_it.values(name) and {"n": 1} in one.values(name)

        await until(arrived)
        assert all(set(data.get("devices", {name})) == {name} for _, data in one.events)
        assert none.events == []
        assert foreign.events == []


async def test_what_happens_to_a_device_is_an_event(owner: httpx.AsyncClient, device: dict[str, Any]) -> None:
    async with watching(owner, device=device["device"]) as stream:
        await owner.delete(f"/devices/{device['device']}")

        async def told() -> bool:
            return any(data.get("kind") == "device.deleted" for _, data in stream.events)

        await until(told)


async def test_the_token_may_come_in_the_query_here_only(
    owner: httpx.AsyncClient, anybody: httpx.AsyncClient
) -> None:
    token = owner.headers["Authorization"].removeprefix("Bearer ")
    async with watching(anybody, access_token=token):
        pass
    assert (await anybody.get("/live")).status_code == 401
    assert (await anybody.get("/live", params={"access_token": "x"})).status_code == 401
    assert (await anybody.get("/devices", params={"access_token": token})).status_code == 401


async def test_the_stream_ends_when_the_token_does(
    owner: httpx.AsyncClient, anybody: httpx.AsyncClient, site: Site
) -> None:
    token = owner.headers["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, options={"verify_signature": False})
    claims["exp"] = int(time.time()) + 2
    short = jwt.encode(claims, site.settings.auth.key.get_secret_value(), algorithm="HS256")
    async with watching(anybody, access_token=short) as stream:

        async def is_over() -> bool:
            return stream.is_over

        await until(is_over)
        assert stream.comments[-1] == "the access token has expired"


@pytest.mark.parametrize("query", [{"device": "No Slug"}, {"org": "rival"}])
async def test_a_bad_filter_is_refused(owner: httpx.AsyncClient, query: dict[str, str]) -> None:
    assert (await owner.get("/live", params=query)).status_code == 422


async def test_a_stalled_viewer_is_told_what_it_missed_and_slows_nobody(
    owner: httpx.AsyncClient, site: Site
) -> None:
    big = {"text": "x" * 50_000}
    request = (
        f"GET /api/v1/live HTTP/1.1\r\nHost: x\r\nAuthorization: {owner.headers['Authorization']}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(HOST, site.settings.http.port)
    writer.write(request.encode())
    await reader.readuntil(b": live\n\n")
    url, timeout_s = site.settings.redis.url.get_secret_value(), site.settings.redis.timeout_s
    async with redis.connect(url, timeout_s) as client, watching(owner, device="big") as brisk:
        for number in range(400):
            await client.publish("live:demo", readings_frame(number, {"big": (number, big)}))
            if number % 20 == 19:

                async def has_all(expected: int = number + 1) -> bool:
                    return len(brisk.events) == expected

                await until(has_all)
        assert all(name == "readings" for name, _ in brisk.events)
    text = b""
    while b"event: lagged" not in text:
        text = text[-20:] + await asyncio.wait_for(reader.read(2**20), 5)
    writer.close()
