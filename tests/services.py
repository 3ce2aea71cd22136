"""Real services for tests, on free ports of the loopback interface."""

import asyncio
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from broker.login import Login
from broker.mosquitto import installation, write
from config.settings import Broker, Mqtt
from core.access import CONTROL, SERVICE
from core.secrets import hash_secret
from sluice.binaries import require
from sluice.replica import settle
from store import mongo
from store.errors import StoreAway

HOST = "127.0.0.1"
START_S = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"{process.args!r} does not listen on {port}"
            time.sleep(0.01)


class Mosquitto:
    """Mosquitto with the files that Sluice writes for it; `users` maps every user name to its password."""

    def __init__(self, directory: Path, devices: Mapping[str, str], **settings: object) -> None:
        self.directory = directory
        self.devices = dict(devices)
        self.services = {SERVICE: secrets.token_urlsafe(), CONTROL: secrets.token_urlsafe()}
        self.broker = Broker.model_validate({"port": free_port(), "ws_port": free_port(), **settings})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def users(self) -> dict[str, str]:
        return {**self.devices, **self.services}

    def login(self, username: str, version: str = "5") -> Login:
        return Login(HOST, self.broker.port, username, self.users[username], version)

    def start(self) -> None:
        mqtt = Mqtt(
            password=SecretStr(self.services[SERVICE]), control_password=SecretStr(self.services[CONTROL])
        )
        hashed = [(name, hash_secret(word, secrets.token_bytes(12))) for name, word in self.devices.items()]
        command = write(self.directory, installation(), self.broker, mqtt, hashed)
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(command, stderr=log)
        wait_for_port(self.broker.port, self._process)

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(sig)
            self._process.wait(timeout=10)
            self._process = None

    def __enter__(self) -> "Mosquitto":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Daemon:
    """A server process on one port, which keeps that port over `stop` and `start`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        wait_for_port(self.port, self._process)

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(sig)
            self._process.wait(timeout=20)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Mongod(_Daemon):
    """mongod as a replica set of one, empty at the first start, as Sluice runs it."""

    @property
    def url(self) -> str:
        return f"mongodb://{HOST}:{self.port}/?directConnection=true"

    def command(self) -> list[str]:
        program = str(require("mongod").path)
        return [program, "--dbpath", str(self.directory), "--bind_ip", HOST, "--port", str(self.port),
                "--replSet", "sluice", "--wiredTigerCacheSizeGB", "0.25"]  # fmt: skip

    def start(self) -> None:
        super().start()
        asyncio.run(self._elect())

    async def _elect(self) -> None:
        async with mongo.connect(self.url, "admin", timeout_s=START_S) as database:
            await settle(database, f"{HOST}:{self.port}")
            deadline = time.monotonic() + START_S
            while True:
                try:
                    return await mongo.ping(database)
                except StoreAway:
                    assert time.monotonic() < deadline, "mongod elects no primary"
                    await asyncio.sleep(0.02)


class RedisServer(_Daemon):
    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def command(self) -> list[str]:
        program = str(require("redis-server").path)
        return [program, "--port", str(self.port), "--bind", HOST, "--dir", str(self.directory),
                "--save", "", "--appendonly", "no"]  # fmt: skip
