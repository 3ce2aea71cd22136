"""The speed line: messages/s from publishers over Mosquitto and ingest into MongoDB, acked after the commit.

Beside it, in the same run on the same servers, the ceilings: the driver's `insert_many` of the same documents
into such a clustered collection, and the broker alone with a subscriber that acks and throws away. The
machine's speed drifts: compare the ratios of one run, not the figures of two.

`python -m bench.ingest [--messages N] [--devices D] [--rounds R]` prints JSON; `make bench` runs it.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from bench.load import CONNECTIONS, values
from bench.stack import Stack, running
from broker import codec
from broker.connection import Connection, Subscription
from broker.login import Login
from core.access import SERVICE
from core.secrets import hash_secret
from core.topics import ROOT
from store import mongo, schema
from store.devices import Devices, NewDevice
from store.keys import key
from store.mongo import Database

START_MS = 1_700_000_000_000
RAW_BATCH = 10_000
LIMIT_S = 60.0
ASIDE = "load"  # the kind of the messages that ingest is not to take


async def main(options: argparse.Namespace) -> None:
    with running() as stack:
        async with mongo.connect(stack.run["mongo"], "sluice", 30.0) as database:
            await register(database, options.devices)
            await one_round(stack, database, options, START_MS - 10**9, warm_up=True)
            rounds = [
                await one_round(stack, database, options, START_MS + n * 10**8) for n in range(options.rounds)
            ]
            report = {
                "messages": options.messages,
                "devices": options.devices,
                "values_per_message": 3,
                "rounds": rounds,
                "median": {
                    key: statistics.median(part[key]["messages_per_s"] for part in rounds)
                    for key in ("sluice", "broker_alone", "insert_many")
                },
            }
    print(json.dumps(report, indent=2))


async def register(database: Database, devices: int) -> None:
    secret = hash_secret("bench", b"0" * 12)
    registry = Devices(database)
    for number in range(devices):
        await registry.create(NewDevice("bench", f"device-{number:05d}"), secret, datetime.now(UTC))


async def one_round(
    stack: Stack, database: Database, options: argparse.Namespace, start_ms: int, warm_up: bool = False
) -> dict[str, Any]:
    messages = options.messages // (10 if warm_up else 1) // CONNECTIONS * CONNECTIONS
    return {
        "insert_many": await insert_many(database, options.devices, messages, start_ms),
        "broker_alone": await broker_alone(stack, options.devices, messages, start_ms),
        "sluice": await sluice(stack, database, options.devices, messages, start_ms),
    }


async def sluice(
    stack: Stack, database: Database, devices: int, messages: int, start_ms: int
) -> dict[str, Any]:
    """From the first publish to the last reading in MongoDB."""
    before = await database["telemetry"].estimated_document_count()
    cpu = stack.cpu()
    load = start_load(stack, devices, messages, start_ms)
    while await database["telemetry"].estimated_document_count() < before + messages:
        await asyncio.sleep(0.02)
    ended = time.time()
    spent = {name: value - cpu[name] for name, value in stack.cpu().items()}
    told = finish(load)
    seconds = ended - told["began"]
    return {
        "messages_per_s": round(messages / seconds),
        "cpu_us_per_message": {
            name: round(value / messages * 1e6, 1)
            for name, value in {**spent, "publishers": told["cpu_s"]}.items()
        },
        "resident_mib": {name: round(size) for name, size in stack.resident().items()},
    }


async def broker_alone(stack: Stack, devices: int, messages: int, start_ms: int) -> dict[str, Any]:
    """The same messages on a topic that ingest does not take, to a subscriber that only acks."""
    login = Login("127.0.0.1", stack.mqtt_port, SERVICE, stack.secrets["SLUICE_MQTT_PASSWORD"])
    received = 0
    done = asyncio.Event()

    def count(connection: Connection, deliveries: list[codec.Delivery]) -> None:
        nonlocal received
        received += len(deliveries)
        connection.ack([delivery.packet_id for delivery in deliveries])
        if received >= messages:
            done.set()

    wanted = Subscription("bench-subscriber", [f"{ROOT}/+/+/{ASIDE}"], session_expiry_s=0)
    cpu = stack.cpu()
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(login, wanted, count), "127.0.0.1", stack.mqtt_port
    )
    await connection.ready
    load = start_load(stack, devices, messages, start_ms, ASIDE)
    async with asyncio.timeout(LIMIT_S):
        await done.wait()
    seconds = time.time() - finish(load)["began"]
    connection.close()
    spent = stack.cpu()["broker"] - cpu["broker"]
    return {
        "messages_per_s": round(messages / seconds),
        "broker_cpu_us_per_message": round(spent / messages * 1e6, 1),
    }


async def insert_many(database: Database, devices: int, messages: int, start_ms: int) -> dict[str, Any]:
    """The driver alone, with documents made beforehand, into a collection made as `telemetry` is."""
    rng = random.Random(0)
    ids = [ObjectId() for _ in range(devices)]
    documents = [document(ids[index % devices], start_ms + index, values(rng)) for index in range(messages)]
    scratch = database.client.get_database("bench", write_concern=mongo.DURABLE)
    await schema.migrate(scratch)
    cpu, began = time.process_time(), time.perf_counter()
    for first in range(0, messages, RAW_BATCH):
        await scratch["telemetry"].insert_many(documents[first : first + RAW_BATCH], ordered=False)
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    await database.client.drop_database("bench")
    return {
        "messages_per_s": round(messages / seconds),
        "client_cpu_us_per_message": round(spent / messages * 1e6, 1),
    }


def document(device: ObjectId, ts: int, reading: dict[str, float]) -> dict[str, Any]:
    return {"_id": key(device, ts), "ts": datetime.fromtimestamp(ts / 1000, UTC), "v": reading}


def start_load(
    stack: Stack, devices: int, messages: int, start_ms: int, kind: str = "telemetry"
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench.load", "--port", str(stack.mqtt_port),
               f"--password={stack.secrets['SLUICE_MQTT_PASSWORD']}", "--devices", str(devices),
               "--messages", str(messages), "--start-ms", str(start_ms), "--kind", kind]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def finish(load: subprocess.Popen[bytes]) -> dict[str, float]:
    output, _ = load.communicate(timeout=LIMIT_S)
    told: dict[str, float] = json.loads(output)
    return told


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--devices", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parsed()))
