"""`sluice ingest`: from the broker's subscription to MongoDB, with Redis told afterwards."""

import gc
from functools import partial

import structlog

from broker.publisher import Login
from config.settings import Settings
from core.access import SERVICE
from ingest.slot import taken
from ingest.spool import Spool
from ingest.stores import Stores
from ingest.worker import Worker
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

log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Until cancelled; needs neither MongoDB nor Redis nor the broker to be there when it starts."""
    gc.set_threshold(*GC_THRESHOLD)
    own, mqtt = settings.ingest, settings.mqtt
    login = Login(mqtt.host, mqtt.port, SERVICE, mqtt.password.get_secret_value(), mqtt.version)
    mongo_url, redis_url = settings.mongo.url.get_secret_value(), settings.redis.url.get_secret_value()
    with taken(settings.data) as slot:
        async with (
            mongo.connect(mongo_url, settings.mongo.database, settings.mongo.timeout_s) as database,
            redis.connect(redis_url, settings.redis.timeout_s) as client,
            Spool.opened(slot.folder / "spool.db", own.spool_bytes) as spool,
        ):
            worker = Worker(own, login, slot, stores(database, client), spool)
            with served(
                worker.vitals.ready, worker.registry, own.health_port, address(settings.http.host)
            ) as port:
                log.info("ingest_started", client=slot.client_id, spooled=len(spool), health_port=port)
                await worker.run()


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
