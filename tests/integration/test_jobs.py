"""Jobs over a real MongoDB, Redis and Mosquitto: devices change state by observed silence and only by it."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId
from prometheus_client import CollectorRegistry

from broker.publisher import Publisher
from config.settings import Settings
from core.access import SERVICE
from core.events import EventKind
from core.presence import Presence
from core.secrets import hash_secret
from jobs.herald import Herald
from jobs.metrics import Metrics
from jobs.purge import Gravedigger
from jobs.runner import Job, Runner
from jobs.sweep import Limits, Sweep
from sluice.wiring import jobs
from store import mongo, redis, schema
from store.devices import Devices, NewDevice
from store.errors import StoreAway
from store.fleet import Fleet
from store.job_runs import JobRuns
from store.keys import event_key, key
from store.live import Live
from store.mongo import Database
from store.observations import Observations
from store.purge import Purge
from store.redis import Redis
from store.silent import Silent
from store.status import Statuses
from store.traces import Traces
from tests.services import HOST, Mongod, Mosquitto, RedisServer, free_port
from tests.sites import running, until

SECRET = hash_secret("x", b"salt")
NOW = 1_795_000_000.0
HOUR = 3600.0
DAY = 24 * HOUR
LIMITS = Limits(inactive_s=DAY, offline_s=600)


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@dataclass
class Yard:
    """A database of its own, a Redis, and a sweep that tells its events to `told`."""

    database: Database
    cache: Redis
    told: list[tuple[str, EventKind]] = field(default_factory=list)

    @property
    def devices(self) -> Devices:
        return Devices(self.database)

    def sweep(self, limits: Limits = LIMITS, now: float = NOW) -> Sweep:
        return Sweep(Silent(self.database), self.observations, self._herald(), limits, clock=lambda: now)

    @property
    def observations(self) -> Observations:
        return Observations(self.database)

    async def add(
        self,
        name: str,
        *,
        last_seen: float | None = None,
        created: float = NOW - 30 * DAY,
        online_since: float | None = None,
        silent_after_s: float | None = None,
    ) -> ObjectId:
        new = NewDevice("acme", name, silent_after_s=silent_after_s)
        device = ObjectId((await self.devices.create(new, SECRET, moment(created))).id)
        fleet = Fleet(self.database)
        if last_seen is not None:
            await fleet.heard({device: round(last_seen * 1000)})
        if online_since is not None:
            after = Presence("online", round(online_since * 1000), 7, "birth")
            assert await fleet.set_presence(device, Presence(), after)
        return device

    async def state(self, name: str) -> tuple[str, str]:
        device = await self.devices.get("acme", name)
        assert device is not None
        return device.lifecycle, device.presence.state

    def _herald(self) -> Herald:
        yard = self

        class Told(Herald):
            def __init__(self) -> None: ...

            async def announce(self, event: Any) -> None:
                yard.told.append((event.device, event.kind))

        return Told()


@pytest.fixture
async def yard(mongo_url: str, redis_url: str) -> AsyncIterator[Yard]:
    async with (
        mongo.connect(mongo_url, f"jobs-{secrets.token_hex(4)}", timeout_s=5) as database,
        redis.connect(redis_url, timeout_s=2) as cache,
    ):
        await schema.migrate(database)
        yield Yard(database, cache)
        await database.client.drop_database(database.name)


async def test_silence_beyond_the_limit_deactivates_and_is_written_down(yard: Yard) -> None:
    await yard.add("quiet", last_seen=NOW - DAY - 1)
    await yard.add("exact", last_seen=NOW - DAY)
    await yard.add("recent", last_seen=NOW - 60)
    await yard.add("never-heard", created=NOW - 2 * DAY)
    await yard.add("new", created=NOW - 60)
    await yard.observations.extend("ingest", NOW - 3 * DAY, NOW)
    assert (await yard.sweep().run())["deactivated"] == 2
    states = {
        name: (await yard.state(name))[0] for name in ("quiet", "exact", "recent", "never-heard", "new")
    }
    assert [name for name, state in states.items() if state == "inactive"] == ["quiet", "never-heard"]
    assert sorted(yard.told) == [
        ("never-heard", EventKind.DEACTIVATED),
        ("quiet", EventKind.DEACTIVATED),
    ]
    entries = await yard.database["audit"].find({}, {"_id": 0}).sort("object", 1).to_list()
    assert [entry["object"] for entry in entries] == ["device/never-heard", "device/quiet"]
    assert entries[0] | {"object": ""} == {
        "org": "acme",
        "actor": "jobs",
        "action": "device.deactivated",
        "object": "",
        "at": moment(NOW),
        "before": {"lifecycle": "active"},
        "after": {"lifecycle": "inactive"},
    }
    assert (await yard.sweep().run())["deactivated"] == 0


async def test_a_device_has_a_limit_of_its_own(yard: Yard) -> None:
    await yard.add("eager", last_seen=NOW - 90, silent_after_s=60)
    await yard.add("eager-and-there", last_seen=NOW - 30, silent_after_s=60)
    await yard.add("patient", last_seen=NOW - 5 * DAY, silent_after_s=7 * DAY)
    await yard.observations.extend("ingest", NOW - 9 * DAY, NOW)
    assert (await yard.sweep().run())["deactivated"] == 1
    assert yard.told == [("eager", EventKind.DEACTIVATED)]


async def test_what_nobody_listened_to_is_no_silence(yard: Yard) -> None:
    """A day's outage of ours, with two minutes before and four after it, is six minutes of silence."""
    await yard.add("d", last_seen=NOW - DAY - 360, online_since=NOW - 2 * DAY)
    await yard.observations.extend("ingest", NOW - 2 * DAY, NOW - DAY - 240)
    await yard.observations.extend("ingest", NOW - 240, NOW)
    result = await yard.sweep().run()
    assert (result["offline"], result["deactivated"]) == (0, 0)
    await yard.observations.extend("ingest", NOW - 240, NOW + 241)
    assert (await yard.sweep().run())["offline"] == 1
    assert await yard.state("d") == ("active", "offline")


async def test_without_any_observation_nothing_changes(yard: Yard) -> None:
    await yard.add("d", last_seen=NOW - 30 * DAY, online_since=NOW - 30 * DAY)
    assert await yard.sweep().run() == {"observed": False}
    assert await yard.state("d") == ("active", "online")


async def test_an_online_device_that_falls_silent_goes_offline(yard: Yard) -> None:
    await yard.add("quiet", last_seen=NOW - 601, online_since=NOW - DAY)
    await yard.add("born", last_seen=NOW - 601, online_since=NOW - 5)
    await yard.add("talking", last_seen=NOW - 599, online_since=NOW - DAY)
    await yard.add("unknown", last_seen=NOW - 601)
    await yard.observations.extend("ingest", NOW - 2 * DAY, NOW)
    assert (await yard.sweep().run())["offline"] == 1
    assert yard.told == [("quiet", EventKind.OFFLINE)]
    device = await yard.devices.get("acme", "quiet")
    assert device is not None
    assert (device.presence.state, device.presence.reason, device.presence.session) == (
        "offline",
        "silent",
        7,
    )
    assert device.presence.since == moment(NOW)
    # The document is still one that ingest finds by equality.
    known = (await Fleet(yard.database).resolve(["acme/quiet"]))["acme/quiet"]
    back = Presence("online", round(NOW * 1000) + 1, 8, "birth")
    assert await Fleet(yard.database).set_presence(known.key, known.presence, back)


async def test_a_device_that_spoke_while_it_was_put_to_rest_is_brought_back(yard: Yard) -> None:
    """Ingest heard it after the last proof, and told MongoDB only after the sweep."""
    device = await yard.add("late", last_seen=NOW - DAY - 1, online_since=NOW - 2 * DAY)
    await yard.add("silent", last_seen=NOW - DAY - 1, online_since=NOW - 2 * DAY)
    await yard.observations.extend("ingest", NOW - 3 * DAY, NOW)
    await yard.sweep().run()
    assert await yard.state("late") == ("inactive", "offline")
    yard.told.clear()
    await Fleet(yard.database).heard({device: round((NOW + 5) * 1000)})
    await yard.observations.extend("ingest", NOW - 3 * DAY, NOW + 30)
    await yard.sweep(now=NOW + 60).run()
    assert await yard.state("late") == ("active", "online")
    assert await yard.state("silent") == ("inactive", "offline")
    assert yard.told == [("late", EventKind.ONLINE), ("late", EventKind.ACTIVATED)]


async def test_a_device_that_speaks_in_the_middle_of_its_deactivation_stays_active(yard: Yard) -> None:
    """The change is a transaction: it starts anew where what it read has changed."""
    device = await yard.add("d", last_seen=NOW - DAY - 1)
    await yard.observations.extend("ingest", NOW - 3 * DAY, NOW)
    tries = 0

    class Interrupted(Silent):
        async def _in_transaction(self, change: Any) -> Any:
            async def and_then_it_speaks(session: Any) -> Any:
                nonlocal tries
                tries += 1
                if tries == 1:
                    await self._devices.find_one({"_id": device}, session=session)  # the snapshot is taken
                    await Fleet(yard.database).heard({device: round(NOW * 1000)})
                return await change(session)

            return await super()._in_transaction(and_then_it_speaks)

    changed = await Interrupted(yard.database).deactivate(None, NOW - DAY, NOW, moment(NOW))
    assert changed == []
    assert tries == 2
    assert await yard.state("d") == ("active", "unknown")
    assert await yard.database["audit"].count_documents({}) == 0


async def test_a_whole_fleet_falls_silent_in_batches(yard: Yard) -> None:
    documents = [
        {**(await _template(yard)), "_id": ObjectId(), "device": f"d{n}", "path": f"acme/d{n}"}
        for n in range(450)
    ]
    await yard.database["devices"].insert_many(documents)
    await yard.observations.extend("ingest", NOW - 3 * DAY, NOW)
    result = await yard.sweep().run()
    assert result["deactivated"] == 451
    assert len(yard.told) == len(set(yard.told)) == 451
    assert await yard.database["audit"].count_documents({}) == 451


async def _template(yard: Yard) -> dict[str, Any]:
    found = await yard.database["devices"].find_one({"device": "template"})
    if found is None:
        await yard.add("template", last_seen=NOW - 2 * DAY)
        found = await yard.database["devices"].find_one({"device": "template"})
    assert found is not None
    return found


async def test_selection_of_silent_devices_uses_an_index(yard: Yard) -> None:
    for path in ("lifecycle", "presence.state"):
        value = "active" if path == "lifecycle" else "online"
        plan = await yard.database.command(
            "explain", {"find": "devices", "filter": {path: value, "last_seen": {"$lt": moment(NOW)}}}
        )
        assert plan["queryPlanner"]["winningPlan"]["inputStage"]["stage"] == "IXSCAN"


async def test_observations_are_kept_for_twice_the_longest_limit(yard: Yard) -> None:
    await yard.add("patient", silent_after_s=5 * DAY)
    await yard.observations.extend("ingest", NOW - 30 * DAY, NOW - 21 * DAY)
    await yard.observations.extend("ingest", NOW - 20 * DAY, NOW - 8 * DAY)
    await yard.observations.extend("ingest", NOW - 2 * DAY, NOW)
    assert await yard.sweep().forget() == {"spans": 1}
    assert len((await yard.observations.all())["ingest"]) == 2


async def test_a_tombstone_takes_late_data_with_it(yard: Yard) -> None:
    gone = await yard.add("gone")
    stays = await yard.add("stays")
    await yard.devices.delete("acme", "gone", moment(NOW - 120))
    for device in (gone, stays):
        await yard.database["telemetry"].insert_many([{"_id": key(device, ms), "v": {}} for ms in range(50)])
        await yard.database["heartbeats"].insert_one({"_id": key(device, 1)})
        await yard.database["events"].insert_one({"_id": event_key(device, 1, b"x")})
        await yard.cache.hset(f"latest:{device}", "t", "1|2")
    gravedigger = Gravedigger(Purge(yard.database), Traces(yard.cache), after_s=60, clock=lambda: NOW - 100)
    assert await gravedigger.run() == {"devices": 0, "documents": 0}
    gravedigger = Gravedigger(Purge(yard.database), Traces(yard.cache), after_s=60, clock=lambda: NOW)
    assert await gravedigger.run() == {"devices": 1, "documents": 52}
    counts = {name: await yard.database[name].count_documents({}) for name in schema.CLUSTERED}
    assert counts == {"telemetry": 50, "heartbeats": 1, "events": 1}
    assert await yard.database["tombstones"].count_documents({}) == 0
    assert await yard.cache.exists(f"latest:{gone}") == 0
    assert await yard.cache.exists(f"latest:{stays}") == 1


async def test_a_range_longer_than_a_batch_goes_whole(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.purge.BATCH", 7)
    device, other = await yard.add("a"), await yard.add("b")
    for owner in (device, other):
        await yard.database["telemetry"].insert_many([{"_id": key(owner, ms)} for ms in range(50)])
    assert await Purge(yard.database).device(str(device)) == 50
    assert await yard.database["telemetry"].count_documents({}) == 50


class Work:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.runs = 0

    async def __call__(self) -> dict[str, Any]:
        self.runs += 1
        if self.error:
            raise self.error
        return {"done": 3}


def runner(database: Database, process: str, now: float) -> tuple[Runner, CollectorRegistry]:
    registry = CollectorRegistry()
    return Runner(JobRuns(database), Metrics(registry), process, clock=lambda: now), registry


async def test_of_many_processes_one_runs_a_tick(yard: Yard) -> None:
    work = Work()
    job = Job("sweep", 60, work)
    processes = [runner(yard.database, f"p{number}", NOW + number)[0] for number in range(8)]
    await asyncio.gather(*(process.tick(job) for process in processes))
    assert work.runs == 1
    await runner(yard.database, "p0", NOW + 60)[0].tick(job)
    assert work.runs == 2
    run = await yard.database["job_runs"].find_one(sort=[("_id", 1)])
    assert run is not None
    assert run["state"] == "succeeded"
    assert run["result"] == {"done": 3}
    assert run["process"].startswith("p")


@pytest.mark.parametrize("error", [ValueError("bad"), StoreAway("no primary")])
async def test_a_job_that_fails_is_recorded_and_ends_nothing(yard: Yard, error: Exception) -> None:
    one, registry = runner(yard.database, "p", NOW)
    await one.tick(Job("sweep", 60, Work(error)))
    run = await yard.database["job_runs"].find_one()
    assert run is not None
    assert run["state"] == "failed"
    assert run["error"] == f"{type(error).__name__}: {error}"
    assert registry.get_sample_value("sluice_job_runs_total", {"job": "sweep", "outcome": "failed"}) == 1


def settings(folder: Path, broker: Mosquitto, mongo_url: str, redis_url: str, database: str) -> Settings:
    return Settings.model_validate(
        {
            "data": folder,
            "mqtt": {"port": broker.broker.port, "password": broker.services[SERVICE]},
            "mongo": {"url": mongo_url, "database": database, "timeout_s": 1},
            "redis": {"url": redis_url, "timeout_s": 1},
            "jobs": {"sweep_every_s": 0.5, "health_port": free_port()},
        }
    )


@asynccontextmanager
async def listening(broker: Mosquitto) -> AsyncIterator[list[tuple[str, Any]]]:
    heard: list[tuple[str, Any]] = []

    def hear(topic: str, payload: bytes) -> None:
        heard.append((topic, json.loads(payload)))

    async with Publisher.connected(broker.login(SERVICE), "ear", ("v1/+/_events/#",), hear) as publisher:
        await until(_now(lambda: publisher.is_connected))
        yield heard


def _now(condition: Any) -> Any:
    async def asked() -> bool:
        return bool(condition())

    return asked


async def test_two_processes_sweep_once_and_tell_dashboards_and_caches(
    yard: Yard, tmp_path: Path, mongo_url: str, redis_url: str
) -> None:
    real = time.time()
    await yard.add("quiet", last_seen=real - DAY - 10, created=real - 2 * DAY, online_since=real - 2 * DAY)
    await yard.observations.extend("ingest", real - 2 * DAY, real)
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(Mosquitto(tmp_path, {}))
        heard = await stack.enter_async_context(listening(broker))
        changed = await stack.enter_async_context(Live(yard.cache).changed_devices())
        frames = await stack.enter_async_context(Live(yard.cache).frames("acme"))
        for name in ("one", "two"):
            own = settings(tmp_path, broker, mongo_url, redis_url, yard.database.name)
            await stack.enter_async_context(running(jobs.run(own), name))
        await until(_now(lambda: len(heard) == 2))
        kinds = {topic: event["data"]["silent_s"] for topic, event in heard}
        assert kinds == {
            "v1/acme/_events/device.deactivated": pytest.approx(DAY + 10, abs=1),
            "v1/acme/_events/device.offline": pytest.approx(DAY + 10, abs=1),
        }
        assert await anext(changed) == b"acme/quiet"
        assert json.loads(await anext(frames))["kind"] == "device.offline"

        async def three_ticks() -> bool:
            return await yard.database["job_runs"].count_documents({"job": "sweep"}) >= 3

        await until(three_ticks)
    runs = await yard.database["job_runs"].find({"job": "sweep"}).to_list()
    assert sum(run.get("result", {}).get("deactivated", 0) for run in runs) == 1
    assert len(heard) == 2
    assert len({run["slot"] for run in runs}) == len(runs)


async def test_jobs_outlive_an_outage_of_everything(tmp_path: Path) -> None:
    for name in ("mongo", "redis", "mosquitto"):
        (tmp_path / name).mkdir()
    database_server, cache_server = Mongod(tmp_path / "mongo"), RedisServer(tmp_path / "redis")
    broker = Mosquitto(tmp_path / "mosquitto", {})
    own = settings(tmp_path, broker, database_server.url, cache_server.url, "jobs")
    url = f"http://{HOST}:{own.jobs.health_port}"

    async def is_ready(expected: bool) -> bool:
        async with httpx.AsyncClient() as client:
            try:
                answer = await client.get(f"{url}/readyz")
            except httpx.TransportError:
                return False
        return answer.is_success is expected and (
            not expected or set(answer.json()["checks"].values()) == {"ok"}
        )

    servers = (database_server, cache_server, broker)
    async with running(jobs.run(own), "jobs"):
        await until(lambda: is_ready(False))
        try:
            for _ in range(2):
                for server in servers:
                    await asyncio.to_thread(server.start)
                await until(lambda: is_ready(True), within_s=20)
                await until(_succeeded(database_server), within_s=20)
                for server in servers:
                    await asyncio.to_thread(server.stop)
                await until(lambda: is_ready(False), within_s=20)
        finally:
            for server in servers:
                await asyncio.to_thread(server.stop)
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"{url}/healthz")


def _succeeded(server: Mongod) -> Any:
    since = datetime.now(UTC) - timedelta(seconds=1)

    async def asked() -> bool:
        async with mongo.connect(server.url, "jobs", timeout_s=2) as database:
            return (
                await database["job_runs"].count_documents({"state": "succeeded", "at": {"$gt": since}}) > 0
            )

    return asked


async def test_jobs_say_how_they_are_in_redis(
    yard: Yard, tmp_path: Path, mongo_url: str, redis_url: str
) -> None:
    with Mosquitto(tmp_path, {}) as broker:
        own = settings(tmp_path, broker, mongo_url, redis_url, yard.database.name)

        async def told() -> bool:
            return any(status.ready for status in await Statuses(yard.cache).all("jobs"))

        async with running(jobs.run(own), "jobs"):
            await until(told)
