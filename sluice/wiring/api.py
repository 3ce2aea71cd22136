"""`sluice api`: one HTTP server over the databases and the broker. Nothing need be up for it to start."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.metadata import PackageNotFoundError, version

import structlog
import uvicorn
from prometheus_client import CollectorRegistry, ProcessCollector

from api import app
from api.announcer import Announcer
from api.fanout import Fanout
from api.health import Health
from api.metrics import Metrics
from api.passwords import Passwords
from api.services import Services
from api.tokens import AccessTokens
from api.uplinks import Replies, Uplinks
from broker import dynsec
from broker.embedded.gate import EmbeddedGate
from broker.gate import Gate
from broker.login import Login
from broker.publisher import Publisher
from config.settings import Auth, Mqtt, Settings
from core import topics
from core.access import CONTROL, SERVICE
from sluice.errors import SettingError
from store import mongo, redis
from store.audit import Audit
from store.devices import Devices
from store.event_log import EventLog
from store.latest import Latest
from store.live import Live
from store.purge import Purge
from store.readings import Series
from store.status import Statuses
from store.tokens import RefreshTokens
from store.traces import Traces
from store.users import Users

log = structlog.get_logger()

GRACE_S = 5  # for requests that are under way at the end


async def run(settings: Settings) -> None:
    """Serves until it is cancelled, then ends streams, finishes requests and closes connections."""
    async with _services(settings) as services:
        await _serve(services, settings)


@asynccontextmanager
async def _services(settings: Settings) -> AsyncIterator[Services]:
    access_tokens = _access_tokens(settings.auth)
    instance = f"api-{secrets.token_hex(6)}"
    metrics = _metrics()
    replies = Replies(instance)
    async with AsyncExitStack() as stack:
        own = settings.mongo
        database = await stack.enter_async_context(
            mongo.connect(own.url.get_secret_value(), own.database, own.timeout_s)
        )
        cache = await stack.enter_async_context(
            redis.connect(settings.redis.url.get_secret_value(), settings.redis.timeout_s)
        )
        publisher = await stack.enter_async_context(
            Publisher.connected(
                _login(settings.mqtt, SERVICE), instance, (replies.topic_filter,), replies.arrived
            )
        )
        live, audit = Live(cache), Audit(database)
        probes = {
            "mongo": lambda: mongo.ping(database),
            "redis": lambda: redis.ping(cache),
            "broker": lambda: publisher.publish(topics.probe(instance), b""),
        }
        yield Services(
            users=Users(database),
            devices=Devices(database),
            telemetry=Series(database, "telemetry", own.timeout_s),
            heartbeats=Series(database, "heartbeats", own.timeout_s),
            event_log=EventLog(database),
            latest=Latest(cache, database),
            audit=audit,
            purge=Purge(database),
            traces=Traces(cache),
            live=live,
            gate=await stack.enter_async_context(_gate(settings, f"{instance}-gate")),
            access_tokens=access_tokens,
            refresh_tokens=RefreshTokens(cache, settings.auth.refresh_ttl_s),
            passwords=Passwords(stack.enter_context(ThreadPoolExecutor(1, "argon2"))),
            announcer=Announcer(live, publisher, audit),
            uplinks=Uplinks(publisher, replies, settings.http.uplink_timeout_s),
            fanout=await stack.enter_async_context(Fanout.running(live, metrics)),
            health=Health(probes, Statuses(cache)),
            metrics=metrics,
        )


@asynccontextmanager
async def _gate(settings: Settings, identifier: str) -> AsyncIterator[Gate]:
    login = _login(settings.mqtt, CONTROL)
    if settings.broker.kind == "amqtt":
        async with Publisher.connected(login, identifier) as publisher:
            yield EmbeddedGate(publisher)
    else:
        async with dynsec.connected(login, identifier) as gate:
            yield gate


def _access_tokens(auth: Auth) -> AccessTokens:
    try:
        return AccessTokens(auth.key.get_secret_value(), auth.access_ttl_s)
    except ValueError as error:
        raise SettingError(str(error)) from error


def _login(mqtt: Mqtt, username: str) -> Login:
    password = mqtt.control_password if username == CONTROL else mqtt.password
    return Login(mqtt.host, mqtt.port, username, password.get_secret_value(), mqtt.version)


def _metrics() -> Metrics:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return Metrics(registry)


def _version() -> str:
    try:
        return version("sluice")
    except PackageNotFoundError:  # run from a checkout
        return "unknown"


async def _serve(services: Services, settings: Settings) -> None:
    server = _Server(
        uvicorn.Config(
            app.build(services, _version()),
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    address = (settings.http.host, settings.http.port)
    with socket.create_server(address, family=_family(settings.http.host), backlog=1024) as listener:
        serving = asyncio.create_task(server.serve([listener]), name="http")
        log.info("api_listening", host=settings.http.host, port=listener.getsockname()[1])
        try:
            await asyncio.shield(serving)
        finally:
            services.fanout.close()
            server.should_exit = True
            await serving


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class _Server(uvicorn.Server):
    """Leaves signals to the caller, who stops it by cancelling `run`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
