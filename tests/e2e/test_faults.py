"""The promise under faults: whatever dies or freezes, each message ends in exactly one place.

One stack a broker serves several tests, each with devices of its own. Faults come when the stream is under
way, by what ingest says that it received; the end of a test is a message behind all others.
"""

import json
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice import binaries
from tests.e2e.load import Load, Sensor
from tests.e2e.stand import Stand
from tests.e2e.test_up import kinds, until
from tests.services import free_port

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=kinds())
def stand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    made = Stand(tmp_path_factory.mktemp("faults") / "data", request.param)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def sensors(stand: Stand, *names: str, dated: bool = False) -> Iterator[list[Sensor]]:
    made = [Sensor(stand, name, dated=dated) for name in names]
    try:
        yield made
    finally:
        for sensor in made:
            sensor.close()


def all_settled(stand: Stand, within_s: float = 30) -> dict[str, int]:
    """Behind everything sent comes one more message: when it is stored, all before it are settled."""
    last = Sensor(stand, f"last-{secrets.token_hex(4)}")
    try:
        with Load([last], 1, 0):
            pass
        until(lambda: bool(stand.readings(stand.device_id(last.name))), within_s)
    finally:
        last.close()
    return stand.settled()


def test_ingest_killed_again_and_again_loses_and_doubles_nothing(stand: Stand) -> None:
    with sensors(stand, "k1", "k2", "k3", "k4") as own:
        with Load(own, 600, 0.008):
            for received in (250, 60, 130):
                until(lambda n=received: stand.received() > n, 20)  # type: ignore[misc]  # mypy: a default
                stand.kill("ingest")
        now = all_settled(stand)
    assert now["spooled"] == 0
    for sensor in own:
        sensor.check()


def test_mongodb_away_spools_and_drains_by_itself(stand: Stand) -> None:
    with sensors(stand, "m1", "m2", "m3") as own:
        with Load(own, 40, 0.002):
            pass
        all_settled(stand)
        before = stand.resident_mib("ingest")
        with stand.frozen("mongod"):
            with Load(own, 500, 0.001, "x" * 1000, first=40):
                until(lambda: not stand.is_ready(), 10)
            until(lambda: (stand.accounts() or {}).get("spooled", 0) > 1000, 30)
            assert stand.resident_mib("ingest") < before + 40
            stand.kill("ingest")
            with Load(own, 60, 0.001, first=540):
                pass
            until(lambda: (stand.accounts() or {}).get("spooled", 0) > 1000, 30)
        until(stand.is_ready, 20)
        now = all_settled(stand)
    assert now["spooled"] == 0
    for sensor in own:
        sensor.check()


def test_mongodb_killed_comes_back_with_everything(stand: Stand) -> None:
    with sensors(stand, "c1", "c2") as own:
        with Load(own, 400, 0.005):
            until(lambda: len(own[0].sent) > 100, 10)
            stand.kill("mongod")
        until(stand.is_ready, 20)
        now = all_settled(stand)
    assert now["spooled"] == 0
    for sensor in own:
        sensor.check()


def test_redis_away_costs_no_message_and_all_that_it_does_comes_back(stand: Stand) -> None:
    with sensors(stand, "v1", "v2") as own, watching(stand) as frames:
        with stand.frozen("redis"):
            with Load(own, 300, 0.002):
                until(lambda: not stand.is_ready(), 10)
            until(lambda: stand.settled()["received"] > 0, 10)
            for sensor in own:
                sensor.check()
        until(stand.is_ready, 10)
        before = stand.pid("redis")
        stand.signal("redis", signal.SIGKILL)
        shutil.rmtree(stand.data / "redis")
        with Load(own, 100, 0.01, first=300):
            (stand.data / "redis").mkdir()
        until(lambda: stand.pid("redis") != before and stand.is_ready(), 20)
        all_settled(stand)
        latest = stand.api.get("/devices/v1/latest").raise_for_status().json()["values"]
        assert latest["r"]["value"] == 395  # by its own time, however often it was written
        assert datetime.fromisoformat(latest["same"]["ts"]) <= datetime.now(UTC)
        frames.clear()
        with Load(own, 1, 0, first=400):
            pass
        until(lambda: {"v1", "v2"} <= {name for frame in frames for name in frame}, 10)
    for sensor in own:
        sensor.check()
    check_that_news_of_devices_arrive(stand)


def check_that_news_of_devices_arrive(stand: Stand) -> None:
    """A device deleted and made again has a new id, under which its very next reading must lie."""
    gone = stand.device_id("v1")
    stand.api.delete("/devices/v1").raise_for_status()
    with sensors(stand, "v1") as [again]:
        with Load([again], 10, 0, first=1000):
            pass
        all_settled(stand)
        again.check()
    assert stand.readings(gone) == []


@pytest.mark.skipif(not binaries.find("mosquitto"), reason="needs Mosquitto")
def test_mosquitto_killed_resumes_and_loses_nothing_that_is_sent_again(stand: Stand) -> None:
    if stand.kind != "mosquitto":
        pytest.skip("the embedded broker keeps nothing over its own end, and says so")
    with sensors(stand, "b1", "b2", dated=True) as own:
        with Load(own, 300, 0.01):
            until(lambda: own[0].acked > 100, 10)
            stand.kill("broker")
        until(stand.is_ready, 20)
        all_settled(stand)
    for sensor in own:
        sensor.check()


def test_clean_stop_and_start_under_load(stand: Stand) -> None:
    if stand.kind != "mosquitto":
        pytest.skip("the embedded broker keeps nothing over its own end, and says so")
    with sensors(stand, "s1", "s2") as own:
        with Load(own, 250, 0.02):
            until(lambda: len(own[0].sent) > 50, 10)
            stand.stop()
            stand.start()
        all_settled(stand)
    for sensor in own:
        sensor.check()


@pytest.mark.skipif(not binaries.find("mosquitto"), reason="needs shared subscriptions")
def test_two_ingests_share_the_stream_and_one_is_killed(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "data", "mosquitto", SLUICE_INGEST_SHARE="sluice")
    stand.start()
    try:
        with second_ingest(stand) as (port, kill), sensors(stand, "t1", "t2", "t3") as own:
            with Load(own, 600, 0.004):
                until(lambda: (stand.accounts(port) or {}).get("received", 0) > 300, 20)
                kill()
                until(lambda: (stand.accounts(port) or {}).get("received", 0) > 100, 20)
            until(lambda: stand.settled()["held"] == stand.settled(port=port)["held"] == 0, 20)
            both = [stand.settled(), stand.settled(port=port)]
            assert min(accounts["stored"] for accounts in both) > 100
            for sensor in own:
                until(lambda one=sensor: is_complete(one), 20)  # type: ignore[misc]  # mypy: a default
                sensor.check(ordered=False)
            latest = stand.api.get("/devices/t1/latest").raise_for_status().json()["values"]
            assert latest["n"]["ts"] > latest["r"]["ts"]
    finally:
        stand.stop()


def is_complete(sensor: Sensor) -> bool:
    try:
        sensor.check(ordered=False)
    except AssertionError as error:
        return "missing" not in str(error) and "dead" not in str(error)
    return True


@contextmanager
def second_ingest(stand: Stand) -> Iterator[tuple[int, Callable[[], None]]]:
    """The port of its health, and a call that kills it and starts it anew."""
    environ = Path(f"/proc/{stand.pid('ingest')}/environ").read_text().split("\0")
    env = dict(line.split("=", 1) for line in environ if line)
    port = free_port()
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        command = [sys.executable, "-P", "-m", "sluice", "ingest"]
        with (stand.data / "logs" / "ingest-2.log").open("ab") as log:
            running.append(
                subprocess.Popen(
                    command, env={**env, "SLUICE_INGEST_HEALTH_PORT": str(port)}, stdout=log, stderr=log
                )
            )
        until(lambda: (stand.accounts(port) or {}).get("received") is not None, 20)

    def kill() -> None:
        running[-1].kill()
        running[-1].wait()
        start()

    start()
    try:
        yield port, kill
    finally:
        running[-1].terminate()
        running[-1].wait(10)


@contextmanager
def watching(stand: Stand) -> Iterator[list[dict[str, Any]]]:
    """The devices of each frame of readings, as they arrive on the live stream."""
    frames: list[dict[str, Any]] = []
    ended = threading.Event()

    def read(response: httpx.Response) -> None:
        with suppress(httpx.TransportError, httpx.StreamClosed):
            for line in response.iter_lines():
                if line.startswith('data: {"type":"readings"'):
                    frames.append(json.loads(line.removeprefix("data: "))["devices"])
                if ended.is_set():
                    return

    with stand.api.stream("GET", "/live", timeout=20) as response:
        reader = threading.Thread(target=read, args=(response,), name="live", daemon=True)
        reader.start()
        yield frames
        ended.set()
