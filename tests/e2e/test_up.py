"""`sluice up` as a person meets it: one process started, signalled and killed; what it leaves behind."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from sluice import binaries

pytestmark = pytest.mark.timeout(240)
PARTS = {"mongod", "redis", "broker", "ingest", "api", "jobs"}
FREE_PORTS = ("--http", "0", "--mqtt", "0", "--ws", "0")


class Up:
    """One `sluice up` on `data`, on free ports."""

    def __init__(self, data: Path, *arguments: str, **env: str) -> None:
        self.data = data
        self.output = data.with_name(f"{data.name}-{time.monotonic_ns()}.out")
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sluice", "up", "--data", str(data), *FREE_PORTS, *arguments],
                stdout=output,
                stderr=output,
                env={**os.environ, **env},
            )

    def run_file(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.data / "run.json").read_text())
        except FileNotFoundError:
            return None
        return found

    def ready(self) -> dict[str, Any]:
        until(lambda: self.run_file() is not None or self.process.poll() is not None, 60)
        assert self.process.poll() is None, self.output.read_text()
        run = self.run_file()
        assert run is not None
        return run

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """False for a zombie too: where nothing reaps orphans, one stays."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def call(url: str, body: dict[str, Any], token: str = "") -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    running: list[Up] = []

    def begin(*arguments: str, **env: str) -> Up:
        running.append(Up(tmp_path / "data", *arguments, **env))
        return running[-1]

    yield begin
    for one in running:
        if one.process.poll() is None:
            one.stop()


def kinds() -> list[str]:
    return ["amqtt", *(["mosquitto"] if binaries.find("mosquitto") else [])]


@pytest.mark.parametrize("kind", kinds())
def test_the_stack_comes_up_heals_and_keeps_its_data(start: Callable[..., Up], kind: str) -> None:
    first = start(SLUICE_BROKER_KIND=kind)
    run = first.ready()
    assert set(run) == {"http", "mqtt", "ws", "mongo", "redis", "pids"}
    assert set(run["pids"]) == PARTS
    assert all(is_running(pid) for pid in run["pids"].values())
    if kind == "mosquitto":
        assert Path(f"/proc/{run['pids']['broker']}/comm").read_text() == "mosquitto\n"

    credentials = json.loads((first.data / "credentials.json").read_text())
    assert set(credentials) == {"org", "email", "password"}
    for private in ("credentials.json", "secrets.json", "run.json"):
        assert stat.S_IMODE((first.data / private).stat().st_mode) == 0o600
    secrets = json.loads((first.data / "secrets.json").read_text()).values()
    for pid in run["pids"].values():
        argv = Path(f"/proc/{pid}/cmdline").read_text()
        assert not any(secret in argv for secret in secrets)

    token = login(run, credentials)
    call(f"{run['http']}/api/v1/devices", {"device": "kept"}, token)

    second = start()
    assert second.process.wait(30) == 1
    assert f"pid {first.process.pid}" in second.output.read_text()

    os.kill(run["pids"]["ingest"], signal.SIGKILL)
    until(lambda: moved(first, run, "ingest"), 30)
    assert "signal SIGKILL" in first.output.read_text()

    now = first.run_file()
    assert now is not None
    began = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - began < 10
    assert not (first.data / "run.json").exists()
    assert not any(is_running(pid) for pid in now["pids"].values())

    again = start(SLUICE_BROKER_KIND=kind).ready()
    assert json.loads((first.data / "credentials.json").read_text()) == credentials
    token = login(again, credentials)
    request = Request(f"{again['http']}/api/v1/devices/kept", headers={"Authorization": f"Bearer {token}"})
    with urlopen(request, timeout=10) as answer:
        assert json.load(answer)["device"] == "kept"


def login(run: dict[str, Any], credentials: dict[str, str]) -> str:
    body = {"email": credentials["email"], "password": credentials["password"]}
    token: str = call(f"{run['http']}/api/v1/auth/login", body)["access_token"]
    return token


def moved(up: Up, before: dict[str, Any], part: str) -> bool:
    now = up.run_file()
    return now is not None and now["pids"].get(part) not in (None, before["pids"][part])


@pytest.mark.parametrize("kind", kinds())
def test_nothing_outlives_a_killed_supervisor_and_the_next_starts(
    start: Callable[..., Up], kind: str
) -> None:
    first = start(SLUICE_BROKER_KIND=kind)
    run = first.ready()
    first.process.kill()
    first.process.wait()
    again = start(SLUICE_BROKER_KIND=kind)
    until(lambda: "Sluice is ready." in again.output.read_text(), 60)
    assert not any(is_running(pid) for pid in run["pids"].values())
    assert set(again.ready()["pids"]) == PARTS


def test_a_taken_port_is_named(tmp_path: Path, start: Callable[..., Up]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = start("--mqtt", str(port))
        assert refused.process.wait(30) == 1
    assert f"port {port} (mqtt)" in refused.output.read_text()


def test_the_owner_comes_from_the_environment(start: Callable[..., Up]) -> None:
    up = start(SLUICE_OWNER_EMAIL="Ada@example.org", SLUICE_OWNER_PASSWORD="a long one", SLUICE_ORG="acme")
    up.ready()
    assert json.loads((up.data / "credentials.json").read_text()) == {
        "org": "acme",
        "email": "ada@example.org",
        "password": "a long one",
    }


def test_a_wrong_setting_is_one_clear_line(start: Callable[..., Up]) -> None:
    refused = start(SLUICE_INGEST_WINDOW="70000")
    assert refused.process.wait(30) == 2
    assert refused.output.read_text() == (
        "setting ingest.window = '70000': Input should be less than or equal to 65535\n"
    )
