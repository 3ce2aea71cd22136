"""The connection to Redis: nothing durable lives there, so every failure is `StoreAway` and survivable."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from redis import asyncio as redis_asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from store.errors import StoreAway

Redis = redis_asyncio.Redis


@asynccontextmanager
async def connect(url: str, timeout_s: float) -> AsyncIterator[Redis]:
    """A client with a pool; does not wait for a server. `timeout_s` bounds connecting and every command."""
    client: Redis = Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, decode_responses=False
    )
    try:
        yield client
    finally:
        await client.aclose()


@contextmanager
def away_as_store_error() -> Iterator[None]:
    """Turns connection failures, time-outs and a server that is loading or read-only into `StoreAway`.

    redis-py sends through `asyncio.wait_for`, which before Python 3.12 may swallow the cancellation of its
    task (python/cpython#86296); one that came within the body is raised anew, else the task never ends.
    """
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    try:
        yield
        if task and task.cancelling() > cancelled_before:
            raise asyncio.CancelledError
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise StoreAway(str(error)) from error
    except RedisError as error:
        if str(error).startswith(("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN")):
            raise StoreAway(str(error)) from error
        raise


async def ping(client: Redis) -> None:
    """Raises `StoreAway` where no server answers."""
    with away_as_store_error():
        await client.ping()
