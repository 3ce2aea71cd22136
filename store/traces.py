"""What Redis remembers of one device: its latest values and when it was last heard."""

from redis.asyncio import Redis

from store.redis import away_as_store_error


class Traces:
    """Every method raises `StoreAway` where Redis cannot be reached."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def remove(self, device_id: str, org: str, device: str) -> None:
        with away_as_store_error():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.delete(f"latest:{device_id}")
                pipe.zrem(f"seen:{org}", device)
                await pipe.execute()
