"""When each device of an organisation was last heard, in a sorted set in Redis: `seen:{org}`, score in ms."""

from collections.abc import Mapping

from redis.asyncio import Redis

from store.redis import away_as_store_error


class Seen:
    """Every method raises `StoreAway` where Redis cannot be reached."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, last_seen: Mapping[str, Mapping[str, int]]) -> None:
        """Organisation → device → ms; a time moves forward, never back."""
        with away_as_store_error():
            async with self._redis.pipeline(transaction=False) as pipe:
                for org, devices in last_seen.items():
                    pipe.zadd(f"seen:{org}", dict(devices), gt=True)
                await pipe.execute()
