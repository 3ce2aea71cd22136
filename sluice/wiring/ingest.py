"""`sluice ingest`: from the broker's subscription to MongoDB, with Redis told afterwards."""

import asyncio
import gc
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from broker.login import Login
from config.settings import Settings
from core.access import SERVICE
from ingest.slot import Slot, SlotTaken, locked, taken
from ingest.spool import Spool
from ingest.stores import Stores
from ingest.worker import Worker
from sluice.errors import SettingError
from sluice.health import address, served
from store import mongo, redis
from store.dead_letters import DeadLetters
from store.fleet import Fleet
from store.latest import Latest
from store.live import Live
from store.mongo import Database
from store.observations import Observations
from store.redis import Redis
from store.seen import Seen
from store.sequences import Sequences
from store.status import Statuses
from store.writes import EventLog, Readings

# A batch makes tens of thousands of objects that hold no cycles and live for milliseconds; by default the
# collector looks through them hundreds of times a second for nothing.
GC_THRESHOLD = (100_000, 20, 20)

ADOPT_EVERY_S = 15.0

log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Until cancelled; needs neither MongoDB nor Redis nor the broker to be there when it starts."""
    gc.set_threshold(*GC_THRESHOLD)
    mongo_url, redis_url = settings.mongo.url.get_secret_value(), settings.redis.url.get_secret_value()
    async with (
        mongo.connect(mongo_url, settings.mongo.database, settings.mongo.timeout_s) as database,
        redis.connect(redis_url, settings.redis.timeout_s) as client,
    ):
        process = Process(settings, stores(database, client))
        try:
            with taken(settings.data, shared=bool(settings.ingest.share)) as slot:
                await process.run(slot)
        except SlotTaken as error:
            raise SettingError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Process:
    """The ingest of one slot; where several share the work, also of the slots that nobody serves any more."""

    settings: Settings
    stores: Stores

    async def run(self, slot: Slot) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._serve(slot, self.settings.ingest.health_port), name=slot.client_id)
            if self.settings.ingest.share:
                tasks.create_task(self._adopt(tasks), name="adopt")

    async def _serve(self, slot: Slot, health_port: int) -> None:
        own, mqtt = self.settings.ingest, self.settings.mqtt
        login = Login(mqtt.host, mqtt.port, SERVICE, mqtt.password.get_secret_value(), mqtt.version)
        host = address(self.settings.http.host)
        async with Spool.opened(slot.folder / "spool.db", own.spool_bytes) as spool:
            worker = Worker(own, login, slot, self.stores, spool)
            with served(worker.vitals.ready, worker.registry, health_port, host) as port:
                log.info("ingest_started", client=slot.client_id, spooled=len(spool), health_port=port)
                await worker.run()

    async def _adopt(self, tasks: asyncio.TaskGroup) -> None:
        """The broker goes on dealing messages to the session of an ingest that is gone, as does its spool."""
        free: set[Path] = set()
        while True:
            await asyncio.sleep(ADOPT_EVERY_S)
            folders = {
                lock.parent for lock in self.settings.data.glob("ingest-*/lock") if _is_free(lock.parent)
            }
            for folder in folders & free:  # twice in a row: it is not just being restarted
                tasks.create_task(self._adopted(folder), name=f"adopted-{folder.name}")
            free = folders

    async def _adopted(self, folder: Path) -> None:
        with locked(folder) as slot:
            if slot is not None:
                log.info("slot_adopted", folder=str(folder), client=slot.client_id)
                await self._serve(slot, 0)


def _is_free(folder: Path) -> bool:
    with locked(folder) as slot:
        return slot is not None


def stores(database: Database, client: Redis) -> Stores:
    return Stores(
        telemetry=Readings(database, "telemetry"),
        heartbeats=Readings(database, "heartbeats"),
        events=EventLog(database),
        fleet=Fleet(database),
        dead_letters=DeadLetters(database),
        sequences=Sequences(database),
        observations=Observations(database),
        latest=Latest(client, database),
        seen=Seen(client),
        live=Live(client),
        statuses=Statuses(client),
        pings={"mongo": partial(mongo.ping, database), "redis": partial(redis.ping, client)},
    )
