"""`sluice simulate` against `sluice up`: what devices send is what the API gives back, on both brokers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from simulator.replay import read_series
from tests.e2e.test_up import Up, kinds, login, until

pytestmark = pytest.mark.timeout(240)
MACHINE = Path(__file__).parents[1] / "data" / "nab" / "machine_temperature_system_failure.csv"


class Stack:
    def __init__(self, up: Up) -> None:
        self.data = up.data
        self.run = up.ready()
        self._token = login(self.run, json.loads((up.data / "credentials.json").read_text()))

    def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"}
        with urlopen(Request(f"{self.run['http']}/api/v1{path}", headers=headers), timeout=20) as answer:
            return json.load(answer)

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        cursor = ""
        while True:
            page = self.get(path + cursor)
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = f"&cursor={page['next_cursor']}"

    def accounts(self) -> dict[str, int]:
        """The counters of the one ingest."""
        with urlopen(f"{self.run['http']}/readyz", timeout=10) as answer:
            (ingest,) = json.load(answer)["checks"]["ingest"]["processes"]
        messages: dict[str, int] = ingest["detail"]["messages"]
        return messages

    def simulate(self, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-P", "-m", "sluice", "simulate", "--data", str(self.data), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary


@pytest.fixture(scope="module", params=kinds())
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    up = Up(tmp_path_factory.mktemp("stack") / "data", SLUICE_BROKER_KIND=request.param)
    try:
        yield Stack(up)
    finally:
        up.stop()


def test_a_recorded_series_comes_back_row_by_row(stack: Stack) -> None:
    """22,695 rows, of which 12 repeat a time stamp: their clock was set back, and the last value wins."""
    before = stack.accounts()
    series = read_series(MACHINE)
    summary = stack.simulate("--replay", str(MACHINE), "--speed", "0", "--key", "temperature")
    assert (summary["sent"], summary["acked"]) == (22_695, 22_695)
    own_statuses = 2  # its birth and its goodbye
    until(lambda: settled(stack.accounts(), before) == 22_695 + own_statuses, 60)
    now = stack.accounts()
    assert now["dead"] == before["dead"]
    assert now["merged"] - before["merged"] == 12
    path = (
        "/devices/machine-temperature-system-failure/telemetry?from=2013-01-01T00:00:00Z&order=asc&limit=1000"
    )
    rows = [(datetime.fromisoformat(row["ts"]), row["values"]) for row in stack.pages(path)]
    assert rows == [(at, {"temperature": value}) for at, value in sorted(dict(series).items())]


def settled(now: dict[str, int], before: dict[str, int]) -> int:
    return sum(now[name] - before[name] for name in ("stored", "merged", "dead"))


def test_a_fleet_is_stored_and_told_so(stack: Stack) -> None:
    before = stack.accounts()
    summary = stack.simulate("--devices", "9", "--rate", "90", "--duration", "5", "--seed", "30")
    assert summary["sent"] == summary["acked"] == sum(summary["kinds"].values())
    assert summary["errors"] == 0
    assert summary["receipts"]["stored"] > 0
    statuses = summary["sessions"] + summary["goodbyes"] + summary["cuts"]
    until(lambda: settled(stack.accounts(), before) >= summary["acked"] + statuses, 20)
    assert stack.accounts()["dead"] == before["dead"]
    devices = [
        device for device in stack.get("/devices?limit=100")["items"] if device["device"].startswith("sim-")
    ]
    assert len(devices) == 9
    paths = [f"/devices/{device['device']}" for device in devices]
    until(lambda: {stack.get(path)["presence"]["state"] for path in paths} == {"offline"}, 10)
    readings = sum(len(list(stack.pages(f"{path}/telemetry?limit=1000"))) for path in paths)
    assert readings == summary["kinds"]["telemetry"]


def test_what_cannot_be_simulated_is_said_in_one_line(tmp_path: Path) -> None:
    def complaint(*arguments: str) -> str:
        command = [sys.executable, "-P", "-m", "sluice", "simulate", "--data", str(tmp_path), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        return done.stderr

    credentials = tmp_path / "credentials"
    credentials.write_text('{"acme/d": "secret"}')
    bad = tmp_path / "bad.csv"
    bad.write_text("timestamp,value\nnow,1\n")
    file = ("--credentials", str(credentials))
    assert complaint("--duration", "1").startswith("sluice: no stack runs in")
    assert "--mqtt 'http://x' is not mqtt://HOST:PORT" in complaint(*file, "--mqtt", "http://x")
    assert "no credentials for device 'bad'" in complaint(*file, "--replay", str(bad))
    assert f"{bad}:2: 'now,1'" in complaint(*file, "--replay", str(bad), "--device", "d")
