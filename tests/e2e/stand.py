"""A running `sluice up` for tests that hurt it: its parts by name, its API, its accounts, its database."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pymongo
from bson import ObjectId

from tests.e2e.test_up import Up, until
from tests.services import HOST, free_port

Document = dict[str, Any]

# Small, so that a fault meets full windows and a working spool after some hundred messages.
TIGHT = {
    "SLUICE_MONGO_TIMEOUT_S": "1",
    "SLUICE_REDIS_TIMEOUT_S": "0.5",
    "SLUICE_INGEST_WINDOW": "400",
    "SLUICE_INGEST_BATCH_SIZE": "100",
    "SLUICE_INGEST_SEEN_EVERY_S": "0.5",
    "SLUICE_INGEST_FANOUT_EVERY_S": "0.05",
}


class Stand:
    """Ports stay the same over `stop` and `start`, as they do for a real fleet."""

    def __init__(self, data: Path, kind: str, **env: str) -> None:
        self.kind = kind
        self._data = data
        self._ports = {name: str(free_port()) for name in ("http", "mqtt", "ws")}
        self.ingest_port = free_port()
        self._env = {
            **TIGHT,
            "SLUICE_BROKER_KIND": kind,
            "SLUICE_INGEST_HEALTH_PORT": str(self.ingest_port),
            **env,
        }

    def start(self) -> None:
        arguments = [part for name, port in self._ports.items() for part in (f"--{name}", port)]
        self.up = Up(self._data, *arguments, **self._env)
        run = self.up.ready()
        self.data = self.up.data
        self.mqtt_port = int(self._ports["mqtt"])
        self.database: pymongo.database.Database[Document] = pymongo.MongoClient(run["mongo"])["sluice"]
        self.api = httpx.Client(base_url=f"{run['http']}/api/v1", timeout=10)
        credentials = json.loads((self.data / "credentials.json").read_text())
        self.org = credentials.pop("org")
        login = self.api.post("/auth/login", json=credentials).raise_for_status().json()
        self.api.headers["Authorization"] = f"Bearer {login['access_token']}"

    def stop(self) -> None:
        self.database.client.close()
        self.api.close()
        assert self.up.stop() == 0

    # -- parts ------------------------------------------------------------------------------------------

    def pid(self, part: str) -> int:
        run = self.up.run_file()
        assert run is not None
        return int(run["pids"][part])

    def signal(self, part: str, sig: signal.Signals) -> None:
        os.kill(self.pid(part), sig)

    def kill(self, part: str) -> None:
        """Returns when the supervisor has started it anew."""
        before = self.pid(part)
        os.kill(before, signal.SIGKILL)
        until(lambda: self.pid(part) != before, 40)

    @contextmanager
    def frozen(self, part: str) -> Iterator[None]:
        """Stopped by SIGSTOP: its sockets are open and nobody answers."""
        pid = self.pid(part)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def resident_mib(self, part: str) -> float:
        status = Path(f"/proc/{self.pid(part)}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    # -- what it says of itself -------------------------------------------------------------------------

    def is_ready(self) -> bool:
        return self.api.get(f"{self.api.base_url.copy_with(path='/readyz')}").status_code == 200

    def accounts(self, port: int | None = None) -> dict[str, int] | None:
        """Of the ingest that answers on `port`; None while it starts. They are closed whenever one looks."""
        try:
            answer = httpx.get(f"http://{HOST}:{port or self.ingest_port}/readyz", timeout=5)
        except httpx.TransportError:
            return None
        now: dict[str, int] = answer.json()["messages"]
        assert now["received"] == now["stored"] + now["merged"] + now["dead"] + now["in_flight"], now
        return now

    def received(self) -> int:
        return (self.accounts() or {}).get("received", 0)

    def settled(self, within_s: float = 30, port: int | None = None) -> dict[str, int]:
        """The accounts, once nothing is in flight."""
        found: list[dict[str, int]] = []

        def nothing_in_flight() -> bool:
            now = self.accounts(port)
            found[:] = [now] if now else []
            return bool(now) and now["in_flight"] == 0

        until(nothing_in_flight, within_s)
        return found[0]

    # -- devices and what is stored of them -------------------------------------------------------------

    def create(self, name: str) -> str:
        """The new device's secret."""
        secret: str = self.api.post("/devices", json={"device": name}).raise_for_status().json()["secret"]
        return secret

    def device_id(self, name: str) -> ObjectId:
        found = self.database["devices"].find_one({"path": f"{self.org}/{name}"})
        assert found is not None, name
        identifier: ObjectId = found["_id"]
        return identifier

    def readings(self, device: ObjectId, collection: str = "telemetry") -> list[Document]:
        low = device.binary
        query = {"_id": {"$gte": low + bytes(8), "$lte": low + b"\xff" * 8}}
        return list(self.database[collection].find(query).sort("_id", 1))

    def dead_payloads(self, name: str) -> list[bytes]:
        return [bytes(letter["payload"]) for letter in self.database["dead_letters"].find({"device": name})]
