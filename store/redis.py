"""The connection to Redis: nothing durable lives there, so every failure is `StoreAway` and survivable."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from redis import asyncio as redis_asyncio
from redis.exceptions import RedisError

from store import cancellation
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
    """Turns every failure of Redis into `StoreAway`: nobody answers, out of memory, loading, read-only."""
    try:
        with cancellation.kept():
            yield
    except (RedisError, OSError) as error:
        raise StoreAway(f"{type(error).__name__}: {error}") from error


async def ping(client: Redis) -> None:
    """Raises `StoreAway` where no server answers."""
    with away_as_store_error():
        await client.ping()
