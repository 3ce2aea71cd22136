"""`sluice doctor`: where each part comes from, its version, its problems, what the broker can promise."""

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

from config.settings import Settings
from sluice import binaries, brokers, promises
from sluice.errors import BinaryError


@dataclass(frozen=True, slots=True)
class Part:
    """`source`: PATH, wheel, package or URL; `problem` is empty where the part works."""

    name: str
    source: str
    where: str
    version: str = ""
    problem: str = ""
    note: str = ""


async def examine(settings: Settings) -> list[Part]:
    return [await _mongo(settings), await _redis(settings), _broker(settings)]


def report(parts: list[Part]) -> str:
    return "\n".join(line for part in parts for line in _lines(part))


def _lines(part: Part) -> list[str]:
    lines = [f"{part.name:<8} {part.source:<8} {part.where}"]
    lines += [f"{'':17} {part.version}"] if part.version else []
    lines += [f"{'':17} problem: {part.problem}"] if part.problem else []
    lines += [f"{'':17} promise: {part.note}"] if part.note else []
    return lines


async def _mongo(settings: Settings) -> Part:
    if "url" not in settings.mongo.model_fields_set:
        return _local("MongoDB", "mongod")
    url = settings.mongo.url.get_secret_value()

    async def ask(stack: AsyncExitStack) -> str:
        from store import mongo  # noqa: PLC0415 - half a second, needed for a URL only

        opened = mongo.connect(url, settings.mongo.database, settings.mongo.timeout_s)
        database = await stack.enter_async_context(opened)
        await mongo.ping(database)
        return f"version {(await database.client.server_info())['version']}"

    return await _remote("MongoDB", url, ask)


async def _redis(settings: Settings) -> Part:
    if "url" not in settings.redis.model_fields_set:
        return _local("Redis", "redis-server")
    url = settings.redis.url.get_secret_value()

    async def ask(stack: AsyncExitStack) -> str:
        from store import redis  # noqa: PLC0415 - as above

        client = await stack.enter_async_context(redis.connect(url, settings.redis.timeout_s))
        await redis.ping(client)
        return f"version {(await client.info('server'))['redis_version']}"

    return await _remote("Redis", url, ask)


def _broker(settings: Settings) -> Part:
    """The one that `sluice up` would run."""
    try:
        kind = brokers.choose(settings)
        promise = promises.of(kind, settings.broker.autosave_on_changes)
        if kind == "mosquitto":
            return _local("Broker", "mosquitto", promise)
        return Part("Broker", "package", "amqtt", f"version {metadata.version('amqtt')}", note=promise)
    except BinaryError as error:
        return Part("Broker", "missing", "mosquitto", problem=str(error))


def _local(name: str, program: str, note: str = "") -> Part:
    binary = binaries.find(program)
    if binary is None:
        return Part(name, "missing", program, problem=f"{program} is neither on PATH nor in a wheel")
    try:
        return Part(name, binary.source, str(binary.path), binaries.version(binary), note=note)
    except BinaryError as error:
        return Part(name, binary.source, str(binary.path), problem=str(error), note=note)


async def _remote(name: str, url: str, ask: Callable[[AsyncExitStack], Coroutine[Any, Any, str]]) -> Part:
    from store.errors import StoreError  # noqa: PLC0415 - as above

    where = _without_password(url)
    try:
        async with AsyncExitStack() as stack:
            return Part(name, "URL", where, await ask(stack))
    except StoreError as error:
        problem = str(error).partition(" (configured")[0]  # the rest is the driver's view of the topology
        return Part(name, "URL", where, problem=problem)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    shown = f"{user.partition(':')[0]}:…@{hosts}" if at else hosts
    return parts._replace(netloc=shown).geturl()
