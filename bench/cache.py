"""What dirty pages cost mongod: inserts of many devices with WiredTiger's default bounds and with ours.

`python -m bench.cache [--rounds R]` prints JSON: documents/s and mongod's CPU µs a document, round by round,
as the collection grows. Each variant has its own mongod; the variants take turns, so that both see the same
machine.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from bson import ObjectId

from bench.load import values
from sluice.stack import EVICTION
from store import mongo, schema
from store.keys import key
from store.mongo import Database
from tests.services import Mongod

DEVICES = 1_000
DOCUMENTS = 200_000  # a round
BATCH = 1_000
START_MS = 1_700_000_000_000
VARIANTS = {"default": (), "sluice": ("--wiredTigerEngineConfigString", EVICTION)}


class Tuned(Mongod):
    def __init__(self, directory: Path, options: Sequence[str]) -> None:
        super().__init__(directory)
        self.options = options

    def command(self) -> list[str]:
        return [*super().command(), *self.options]

    def cpu(self) -> float:
        assert self._process is not None
        spent = psutil.Process(self._process.pid).cpu_times()
        return spent.user + spent.system


async def one_round(server: Tuned, database: Database, ids: list[ObjectId], number: int) -> dict[str, Any]:
    rng = random.Random(number)
    start = START_MS + number * DOCUMENTS
    documents = [
        {
            "_id": key(ids[index % DEVICES], start + index),
            "ts": datetime.fromtimestamp((start + index) / 1000, UTC),
            "v": values(rng),
        }
        for index in range(DOCUMENTS)
    ]
    cpu, began = server.cpu(), time.perf_counter()
    for first in range(0, DOCUMENTS, BATCH):
        await database["telemetry"].insert_many(documents[first : first + BATCH], ordered=False)
    seconds = time.perf_counter() - began
    return {
        "documents_per_s": round(DOCUMENTS / seconds),
        "mongod_cpu_us_per_document": round((server.cpu() - cpu) / DOCUMENTS * 1e6, 1),
    }


async def main(servers: dict[str, Tuned], rounds: int) -> None:
    ids = [ObjectId() for _ in range(DEVICES)]
    report: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
    async with AsyncExitStack() as stack:
        databases = {
            name: await stack.enter_async_context(mongo.connect(server.url, "bench", 60.0))
            for name, server in servers.items()
        }
        for database in databases.values():
            await schema.migrate(database)
        for number in range(rounds):
            for name, server in servers.items():
                report[name].append(await one_round(server, databases[name], ids, number))
    print(json.dumps(report, indent=2))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    return parser.parse_args()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        folders = {name: Path(folder) / name for name in VARIANTS}
        for path in folders.values():
            path.mkdir()
        with (
            Tuned(folders["default"], VARIANTS["default"]) as one,
            Tuned(folders["sluice"], VARIANTS["sluice"]) as two,
        ):
            asyncio.run(main({"default": one, "sluice": two}, parsed().rounds))
