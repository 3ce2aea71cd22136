"""Simulated devices on both brokers: what they say is what arrives, through cuts, pauses and doubles."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from broker.device import connected
from broker.embedded.server import serve
from broker.login import BrokerAway, Login
from broker.publisher import Publisher
from core.access import SERVICE
from simulator import sensor
from simulator.fleet import Endpoint, run_fleet
from simulator.replay import read_series, replay
from simulator.script import Habits
from simulator.tally import Tally
from tests.services import HOST, Mosquitto

NAB = Path(__file__).parents[1] / "data" / "nab"
DEVICES = {f"acme/d{number}": f"secret-{number}" for number in range(9)}


class Heard:
    """Everything below v1, as the service user hears it."""

    def __init__(self) -> None:
        self.by_topic: dict[str, list[bytes]] = defaultdict(list)

    def __call__(self, topic: str, payload: bytes) -> None:
        self.by_topic[topic].append(payload)

    def of(self, path: str, kind: str) -> list[Any]:
        return [json.loads(payload) for payload in self.by_topic[f"v1/{path}/{kind}"]]

    def count(self, kind: str) -> int:
        return sum(len(self.of(path, kind)) for path in DEVICES)


class Site:
    """A broker that knows `DEVICES`, and a listener on all of it."""

    def __init__(self, endpoint: Endpoint, heard: Heard) -> None:
        self.endpoint = endpoint
        self.heard = heard

    def login(self, path: str) -> Login:
        return self.endpoint.login(path, DEVICES[path])


@pytest.fixture(autouse=True)
def nobody_sends_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensor, "RECEIPTS_S", 0.1)


@pytest.fixture(params=["mosquitto", "amqtt"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    heard = Heard()
    running = _mosquitto(tmp_path) if request.param == "mosquitto" else _embedded()
    async with running as service:
        listening = Publisher.connected(service, "listener", ("v1/#",), heard)
        async with listening as publisher:
            await until(lambda: publisher.is_connected)
            yield Site(Endpoint(HOST, service.port), heard)


@asynccontextmanager
async def _mosquitto(directory: Path) -> AsyncIterator[Login]:
    with Mosquitto(directory, DEVICES) as mosquitto:
        yield mosquitto.login(SERVICE)


@asynccontextmanager
async def _embedded() -> AsyncIterator[Login]:
    async def may_connect(username: str, password: str) -> bool:
        return {**DEVICES, SERVICE: "service"}.get(username) == password

    async with serve(HOST, 0, 0, may_connect) as ports:
        yield Login(HOST, ports.tcp, SERVICE, "service", "3.1.1")


async def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)


async def test_a_cut_is_told_by_the_will_and_a_goodbye_by_the_device(site: Site) -> None:
    async with connected(site.login("acme/d0"), session=1) as connection:
        await connection.cut()
        with pytest.raises(BrokerAway):
            await connection.announce("offline")
    async with connected(site.login("acme/d0"), session=2) as connection:
        await connection.announce("offline")
    await until(lambda: len(site.heard.of("acme/d0", "status")) == 4)
    told = [(status["state"], status["session"]) for status in site.heard.of("acme/d0", "status")]
    assert sorted(told) == [("offline", 1), ("offline", 2), ("online", 1), ("online", 2)]


async def test_a_wrong_secret_is_turned_away(site: Site) -> None:
    with pytest.raises(BrokerAway, match="acme/d0"):
        async with connected(replace(site.login("acme/d0"), password="guess"), session=1):
            raise AssertionError("it was let in")


async def test_a_fleet_with_cuts_and_pauses_sends_every_reading_that_has_a_time(site: Site) -> None:
    habits = Habits(
        read_every_s=0.1, heartbeat_every_s=0.5, event_every_s=2, pause_every_s=2, pause_s=2, repeat=0.1
    )
    tally = Tally()
    await run_fleet(site.endpoint, DEVICES, habits, tally, seed=30, duration_s=5)
    assert tally.sent == tally.acked
    assert tally.cuts > 0
    assert tally.late > 0
    assert tally.undated > 0
    sent = {
        "telemetry": tally.kinds["telemetry"] + tally.kinds["repeat"],
        "heartbeat": tally.kinds["heartbeat"],
        "event": tally.kinds["event"],
    }
    await until(lambda: {kind: site.heard.count(kind) for kind in sent} == sent)
    for path in DEVICES:
        assert site.heard.of(path, "status")[-1]["state"] == "offline"


async def test_readings_of_a_cut_device_arrive_late_with_their_own_times(site: Site) -> None:
    habits = Habits(read_every_s=0.1, event_every_s=0, pause_every_s=1, pause_s=3, repeat=0)
    await run_fleet(site.endpoint, {"acme/d1": DEVICES["acme/d1"]}, habits, tally := Tally(), 2, 6)
    await until(lambda: len(site.heard.of("acme/d1", "telemetry")) == tally.kinds["telemetry"])
    times = [reading["ts"] for reading in site.heard.of("acme/d1", "telemetry")]
    gaps = [after - before for before, after in pairwise(times)]
    assert tally.late > 0
    assert 90 <= min(gaps) <= max(gaps) <= 110


async def test_a_replay_keeps_the_order_and_every_row(site: Site) -> None:
    series = read_series(NAB / "ambient_temperature_system_failure.csv")
    tally = Tally()
    await replay(site.login("acme/d2"), series, "temperature", speed=0, tally=tally)
    assert tally.acked == len(series)
    await until(lambda: len(site.heard.of("acme/d2", "telemetry")) == len(series), timeout_s=30)
    heard = site.heard.of("acme/d2", "telemetry")
    assert [(row["ts"], row["values"]["temperature"]) for row in heard] == [
        (round(at.timestamp() * 1000), value) for at, value in series
    ]
