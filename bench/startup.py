"""From `sluice up` in an empty folder to the first stored reading, and what the idle stack holds in memory.

The reading takes a new user's way: log-in and device over HTTP, publish with the device's own secret over
MQTT, read back over HTTP. Memory is the resident set of every process, shared pages counted in each.

`python -m bench.startup [--rounds R] [--idle SECONDS]` prints JSON.
"""

import argparse
import asyncio
import json
import statistics
import time
from typing import Any

import httpx

from bench.stack import Stack, running
from broker.login import Login
from broker.publisher import client


async def one_round(idle_s: float) -> dict[str, Any]:
    with running() as stack:
        stored_s = stack.started_s + await first_reading(stack)
        await asyncio.sleep(idle_s)
        resident = {name: round(size) for name, size in stack.resident().items()}
        return {
            "ready_s": round(stack.started_s, 2),
            "first_stored_reading_s": round(stored_s, 2),
            "resident_mib": resident,
            "resident_mib_in_all": sum(resident.values()),
        }


async def first_reading(stack: Stack) -> float:
    """Seconds from an empty registry to the reading in the API's answer."""
    began = time.monotonic()
    async with httpx.AsyncClient(base_url=f"{stack.run['http']}/api/v1") as http:
        owner = json.loads((stack.data / "credentials.json").read_text())
        login = {"email": owner["email"], "password": owner["password"]}
        token = (await http.post("/auth/login", json=login)).raise_for_status().json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        created = (await http.post("/devices", json={"device": "first"})).raise_for_status().json()
        mqtt = Login("127.0.0.1", stack.mqtt_port, f"{owner['org']}/first", created["secret"])
        async with client(mqtt, "bench-first") as device:
            await device.publish(f"v1/{owner['org']}/first/telemetry", b'{"temperature":21.4}', qos=1)
        while not (await http.get("/devices/first/telemetry")).raise_for_status().json()["items"]:
            await asyncio.sleep(0.01)
    return time.monotonic() - began


async def main(options: argparse.Namespace) -> None:
    rounds = [await one_round(options.idle) for _ in range(options.rounds)]
    figures = ("ready_s", "first_stored_reading_s", "resident_mib_in_all")
    median = {name: statistics.median(part[name] for part in rounds) for name in figures}
    print(json.dumps({"rounds": rounds, "median": median}, indent=2))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=float, default=20.0, help="seconds of rest before memory is read")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parsed()))
