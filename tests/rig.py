"""An ingest on real services, for tests that publish to it and look at what became of it."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
from bson import ObjectId

from broker.publisher import client
from config.settings import Ingest
from core.access import SERVICE
from core.secrets import hash_secret
from ingest.slot import taken
from ingest.spool import Spool
from ingest.worker import Worker
from sluice.wiring.ingest import stores
from store import mongo, redis, schema
from store.devices import Device, Devices, NewDevice
from store.mongo import Database, Document
from store.redis import Redis
from tests.services import Mosquitto

DEADLINE_S = 15.0
FAST = Ingest(batch_age_s=0.01, fanout_every_s=0.02, seen_every_s=0.1, share=None)


async def until(condition: Callable[[], Any], what: str, within_s: float = DEADLINE_S) -> Any:
    """Polls `condition` (a function or a coroutine function) until it gives something true."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        assert asyncio.get_running_loop().time() < deadline, f"not within {within_s:.0f} s: {what}"
        await asyncio.sleep(0.01)


@dataclass
class Rig:
    """`database` is the test's own; `worker` the ingest that runs now."""

    broker: Mosquitto
    database: Database
    redis: Redis
    folder: Path
    settings: Ingest
    version: str
    worker: Worker | None = None

    async def create(self, path: str) -> Device:
        """In the registry; the broker knows the devices that it was started with."""
        org, device = path.split("/")
        hashed = hash_secret(self.broker.devices.get(path, "-"), secrets.token_bytes(12))
        return await Devices(self.database).create(NewDevice(org, device), hashed, datetime.now(UTC))

    @asynccontextmanager
    async def ingest(self) -> AsyncIterator[Worker]:
        """Starts an ingest and stops it cleanly."""
        login = self.broker.login(SERVICE, self.version)
        with taken(self.folder) as slot:
            async with Spool.opened(slot.folder / "spool.db", self.settings.spool_bytes) as spool:
                worker = Worker(self.settings, login, slot, stores(self.database, self.redis), spool)
                task = asyncio.create_task(worker.run())
                try:
                    await until(lambda: worker.subscriber.connection or task.done(), "ingest connected")
                    self.worker = worker
                    yield worker
                finally:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    assert task.cancelled(), task.exception()

    @asynccontextmanager
    async def device(self, path: str, subscribe: str | None = None) -> AsyncIterator[aiomqtt.Client]:
        """Logged in as the device."""
        async with client(self.broker.login(path, self.version), f"test-{path}") as connection:
            if subscribe:
                await connection.subscribe(f"v1/{path}/{subscribe}", qos=1)
            yield connection

    async def settled(self, messages: int) -> Worker:
        """The ingest, once it has settled so many messages in all."""
        worker = self.worker
        assert worker is not None
        ledger = worker.ledger
        await until(
            lambda: ledger.received >= messages and ledger.in_flight == 0, f"{messages} messages settled"
        )
        assert ledger.received == ledger.stored + ledger.merged + ledger.dead
        return worker

    async def stored(self, collection: str, device: Device) -> list[Document]:
        lowest = ObjectId(device.id).binary
        query = {"_id": {"$gte": lowest, "$lt": lowest + b"\xff" * 16}}
        return [document async for document in self.database[collection].find(query).sort("_id", 1)]

    async def dead_letters(self) -> list[Document]:
        return await self.database["dead_letters"].find().sort("at", 1).to_list()


@asynccontextmanager
async def rig(
    broker: Mosquitto,
    mongo_url: str,
    redis_url: str,
    folder: Path,
    settings: Ingest = FAST,
    version: str = "5",
    mongo_timeout_s: float = 5.0,
) -> AsyncIterator[Rig]:
    """A database of its own on the shared servers, and nothing left of earlier tests at the broker."""
    name = f"test_{secrets.token_hex(6)}"
    async with (
        mongo.connect(mongo_url, name, mongo_timeout_s) as database,
        redis.connect(redis_url, 1.0) as cache,
    ):
        await schema.migrate(database)
        try:
            yield Rig(broker, database, cache, folder, settings, version)
        finally:
            await database.client.drop_database(name)


async def next_json(connection: aiomqtt.Client, within_s: float = DEADLINE_S) -> tuple[str, Any]:
    """Topic and document of the next message."""
    async with asyncio.timeout(within_s):
        message = await anext(aiter(connection.messages))
    assert isinstance(message.payload, bytes)
    return str(message.topic), json.loads(message.payload)
