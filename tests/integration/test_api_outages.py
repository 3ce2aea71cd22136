"""The api while what it stands on goes away and comes back; each test stops servers of its own."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import pytest

from config.settings import Settings
from sluice.bootstrap import init
from sluice.wiring import api, broker
from store import redis
from store.errors import StoreAway
from store.status import ProcessStatus, Statuses
from tests.integration.test_api_live import watching
from tests.services import HOST, Mongod, Mosquitto, RedisServer, free_port
from tests.sites import OWNER, PASSWORD, Site, answers, running, site_settings, until


@dataclass
class Fragile:
    site: Site
    mongod: Mongod
    redis: RedisServer
    broker: Mosquitto

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{self.site.url}/readyz")
        return answer.status_code, answer.json()["checks"]

    async def report_ingest(self) -> None:
        """As an ingest would; while Redis is away nothing is reported."""
        settings = self.site.settings.redis
        async with redis.connect(settings.url.get_secret_value(), settings.timeout_s) as client:
            with suppress(StoreAway):
                await Statuses(client).put(ProcessStatus("ingest", "one", ready=True, detail={"received": 7}))


@pytest.fixture
async def fragile(tmp_path: Path) -> AsyncIterator[Fragile]:
    folders = [tmp_path / name for name in ("mongo", "redis", "broker", "site")]
    for folder in folders:
        folder.mkdir()
    mongod, server, broker = Mongod(folders[0]), RedisServer(folders[1]), Mosquitto(folders[2], {})
    try:
        for daemon in (mongod, server, broker):
            await asyncio.to_thread(daemon.start)
        short = {"timeout_s": 1.0}
        settings = site_settings(
            folders[3],
            broker,
            mongod.url,
            server.url,
            mongo={"url": mongod.url, "database": "outage", **short},
            redis={"url": server.url, **short},
            http={"port": free_port(), "uplink_timeout_s": 1.0},
        )
        await init(settings)
        fragile = Fragile(Site(settings), mongod, server, broker)
        async with running(api.run(settings), "api"):
            await until(lambda: answers(f"{fragile.site.url}/healthz", 200))
            yield fragile
    finally:
        for daemon in (mongod, server, broker):
            daemon.stop()


async def becomes(fragile: Fragile, status: int, **states: str) -> None:
    async def is_so() -> bool:
        await fragile.report_ingest()
        found, checks = await fragile.readiness()
        return found == status and all(checks[name]["state"] == state for name, state in states.items())

    await until(is_so, within_s=20)


async def test_ready_follows_every_dependency_and_names_it(fragile: Fragile) -> None:
    status, checks = await fragile.readiness()
    assert status == 503
    assert checks["ingest"] == {"state": "down", "error": "no ingest process has reported", "processes": []}
    assert checks["mongo"]["state"] == "up"
    assert checks["mongo"]["latency_ms"] < 2000
    await becomes(fragile, 200, mongo="up", redis="up", broker="up", ingest="up")
    _, checks = await fragile.readiness()
    assert checks["ingest"]["processes"][0]["detail"] == {"received": 7}
    for name, server in (("mongo", fragile.mongod), ("broker", fragile.broker), ("redis", fragile.redis)):
        server.stop()
        await becomes(fragile, 503, **{name: "down"})
        _, checks = await fragile.readiness()
        assert checks[name]["error"]
        assert await answers(f"{fragile.site.url}/healthz", 200)
        await asyncio.to_thread(server.start)
        await becomes(fragile, 200, **{name: "up"})


async def test_requests_are_told_to_come_again(fragile: Fragile) -> None:
    async with fragile.site.client() as client:
        created = (await client.post("/devices", json={"device": "one"})).json()
        fragile.broker.stop()
        told = await asyncio.gather(
            client.post("/devices", json={"device": "two"}),
            client.post("/devices/one/telemetry", json={"n": 1}),
            client.delete("/devices/one"),
            client.post("/devices/one/credentials/rotate"),
        )
        for answer in told:
            assert (answer.status_code, answer.json()["code"]) == (503, "broker_away"), answer.text
            assert answer.headers["Retry-After"] == "2"
        assert (await client.get("/devices/two")).status_code == 404
        assert (await client.get("/devices/one")).status_code == 200
        basic = httpx.BasicAuth("demo/one", created["secret"])
        answer = await client.post("/devices/one/telemetry", json={"n": 1}, auth=basic)
        assert (answer.status_code, answer.json()["code"]) == (
            503,
            "broker_away",
        )  # the old secret still holds
        fragile.mongod.stop()
        answer = await client.get("/devices")
        assert (answer.status_code, answer.json()["code"]) == (503, "store_away")
        fragile.redis.stop()
        answer = await client.post("/auth/refresh", json={"refresh_token": "x.y"})
        assert (answer.status_code, answer.json()["code"]) == (503, "store_away")


async def test_a_message_that_ingest_does_not_answer_is_accepted(fragile: Fragile) -> None:
    """No ingest runs here. The broker has the message, and that is what is said."""
    async with fragile.site.client() as client:
        await client.post("/devices", json={"device": "one"})
        started = time.monotonic()
        answer = await client.post("/devices/one/telemetry", json={"n": 1})
    assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
    assert time.monotonic() - started >= fragile.site.settings.http.uplink_timeout_s


async def test_a_live_stream_outlives_redis_and_ends_with_the_api(fragile: Fragile) -> None:
    async with fragile.site.client() as client, watching(client) as stream:
        fragile.redis.stop()

        async def is_told() -> bool:
            return any("redis is away" in comment for comment in stream.comments)

        await until(is_told)
        await asyncio.to_thread(fragile.redis.start)

        async def is_back() -> bool:
            return stream.comments.count("live") == 2

        await until(is_back)
        await client.post("/devices", json={"device": "seen"})

        async def is_seen() -> bool:
            return any(data.get("device") == "seen" for _, data in stream.events)

        await until(is_seen)


async def test_stopping_ends_streams_at_once(
    tmp_path: Path, api_broker: Mosquitto, mongo_url: str, redis_url: str
) -> None:
    settings = site_settings(tmp_path, api_broker, mongo_url, redis_url)
    await init(settings)
    site = Site(settings)
    serving = asyncio.create_task(api.run(settings), name="api")
    await until(lambda: answers(f"{site.url}/healthz", 200))
    async with site.client() as client, watching(client) as stream:
        started = time.monotonic()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert serving.cancelled()
        assert time.monotonic() - started < 2

        async def is_over() -> bool:
            return stream.is_over

        await until(is_over)
        assert stream.comments[-1] == "closing"


async def test_the_embedded_broker_is_told_of_devices_too(
    tmp_path: Path, mongo_url: str, redis_url: str
) -> None:
    ports = {"port": free_port(), "ws_port": free_port()}
    words = {"password": secrets.token_hex(), "control_password": secrets.token_hex()}
    settings = Settings.model_validate(
        {
            "data": tmp_path,
            "owner": {"email": OWNER, "password": PASSWORD},
            "broker": {"kind": "amqtt", **ports},
            "mqtt": {"port": ports["port"], "version": "3.1.1", **words},
            "mongo": {"url": mongo_url, "database": f"embedded-{secrets.token_hex(4)}"},
            "redis": {"url": redis_url},
            "http": {"port": free_port()},
            "auth": {"key": secrets.token_hex(32)},
        }
    )
    await init(settings)
    site = Site(settings)
    async with running(broker.run(settings), "broker"), running(api.run(settings), "api"):

        async def is_up() -> bool:
            async with httpx.AsyncClient() as client:
                try:
                    checks = (await client.get(f"{site.url}/readyz")).json()["checks"]
                except httpx.TransportError:
                    return False
            return bool(checks["broker"]["state"] == "up")

        await until(is_up)
        async with site.client() as client:
            created = await client.post("/devices", json={"device": "one"})
            assert created.status_code == 201, created.text
            login: dict[str, Any] = {"username": "demo/one", "protocol": aiomqtt.ProtocolVersion.V311}
            async with aiomqtt.Client(HOST, ports["port"], password=created.json()["secret"], **login) as old:
                rotated = await client.post("/devices/one/credentials/rotate")
                assert rotated.status_code == 200, rotated.text
                with pytest.raises(aiomqtt.MqttError):
                    await asyncio.wait_for(anext(old.messages), 5)
            async with aiomqtt.Client(HOST, ports["port"], password=rotated.json()["secret"], **login):
                pass
            assert (await client.delete("/devices/one")).status_code == 204
            with pytest.raises(aiomqtt.MqttError):
                async with aiomqtt.Client(HOST, ports["port"], password=rotated.json()["secret"], **login):
                    pass
