"""`sluice jobs`: the scheduled jobs over the databases and the broker. Nothing need be up for it to start."""

import secrets
import socket
from functools import partial

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector

from broker.login import BrokerAway, Login
from broker.publisher import Publisher
from config import settings as config
from config.settings import Settings
from core.access import SERVICE
from jobs.herald import Herald
from jobs.metrics import Metrics
from jobs.purge import Gravedigger
from jobs.runner import Job, Runner
from jobs.schedule import scheduled
from jobs.sweep import Limits, Sweep
from jobs.vitals import Ping, Vitals
from sluice.health import address, served
from store import mongo, redis
from store.job_runs import JobRuns
from store.live import Live
from store.mongo import Database
from store.observations import Observations
from store.purge import Purge
from store.redis import Redis
from store.silent import Silent
from store.status import Statuses
from store.traces import Traces

log = structlog.get_logger()

FORGET_EVERY_S = 3600.0


async def run(settings: Settings) -> None:
    """Until cancelled; any number of these processes share the work."""
    process = f"jobs-{socket.gethostname()}-{secrets.token_hex(4)}"
    mqtt, own = settings.mqtt, settings.jobs
    login = Login(mqtt.host, mqtt.port, SERVICE, mqtt.password.get_secret_value(), mqtt.version)
    mongo_url, redis_url = settings.mongo.url.get_secret_value(), settings.redis.url.get_secret_value()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    async with (
        mongo.connect(mongo_url, settings.mongo.database, settings.mongo.timeout_s) as database,
        redis.connect(redis_url, settings.redis.timeout_s) as client,
        Publisher.connected(login, process) as publisher,
    ):
        vitals = Vitals(process, _pings(database, client, publisher), Statuses(client))
        runner = Runner(JobRuns(database), Metrics(registry), process)
        work = _jobs(own, database, client, Herald(Live(client), publisher))
        with served(vitals.ready, registry, own.health_port, address(settings.http.host)) as port:
            log.info("jobs_started", process=process, health_port=port)
            async with scheduled(work, runner):
                await vitals.run()


def _jobs(own: config.Jobs, database: Database, client: Redis, herald: Herald) -> list[Job]:
    limits = Limits(inactive_s=own.silent_after_s, offline_s=own.offline_after_s)
    sweep = Sweep(Silent(database), Observations(database), herald, limits)
    gravedigger = Gravedigger(Purge(database), Traces(client), own.purge_after_s)
    return [
        Job("sweep", own.sweep_every_s, sweep.run),
        Job("purge", own.sweep_every_s, gravedigger.run),
        Job("forget", FORGET_EVERY_S, sweep.forget),
    ]


def _pings(database: Database, client: Redis, publisher: Publisher) -> dict[str, Ping]:
    async def broker() -> None:
        if not publisher.is_connected:
            raise BrokerAway("not connected")

    return {"mongo": partial(mongo.ping, database), "redis": partial(redis.ping, client), "broker": broker}
