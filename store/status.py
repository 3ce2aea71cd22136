"""What each process says of itself, kept in Redis for a few seconds: the api reads it for `/readyz`."""

from dataclasses import dataclass
from typing import Any

import msgspec
from redis.asyncio import Redis

from store.redis import away_as_store_error

TTL_S = 15


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """`kind`: ingest or jobs; `detail`: the process's own view of its dependencies and counters."""

    kind: str
    id: str
    ready: bool
    detail: dict[str, Any]


class Statuses:
    """Every method raises `StoreAway` where Redis cannot be reached."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, status: ProcessStatus) -> None:
        with away_as_store_error():
            await self._redis.hset(f"status:{status.kind}", status.id, msgspec.json.encode(status))
            await self._redis.set(f"status:{status.kind}:{status.id}", b"1", ex=TTL_S)

    async def all(self, kind: str) -> list[ProcessStatus]:
        """Those that spoke within the last `TTL_S` seconds; the others are forgotten."""
        with away_as_store_error():
            entries = await self._redis.hgetall(f"status:{kind}")
            statuses = [msgspec.json.decode(raw, type=ProcessStatus) for raw in entries.values()]
            return [status for status in statuses if await self._is_alive(status)]

    async def _is_alive(self, status: ProcessStatus) -> bool:
        if await self._redis.exists(f"status:{status.kind}:{status.id}"):
            return True
        await self._redis.hdel(f"status:{status.kind}", status.id)
        return False
