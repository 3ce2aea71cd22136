"""The newest value of every key of a device, in Redis, made again from MongoDB where Redis lost it.

`latest:{device id}` is a hash of key → `ts|JSON value`. The script compares times, so that late data and two
ingests at once never put an older value over a newer one. The field `\\0full` marks a hash that was built on
the whole of what is stored; one that began after Redis lost its memory lacks it until the next read.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from bson import ObjectId
from redis.asyncio import Redis

from core.newest import Newest, Values
from store.errors import StoreAway
from store.keys import device_range
from store.mongo import Database
from store.mongo import away_as_store_error as mongo_away
from store.redis import away_as_store_error as redis_away

LOOK_BACK = 1000  # readings that are looked through to make a lost hash again
_FULL = b"\0full"

# KEYS[1]: the hash. ARGV: key, ts, value JSON, and so on in threes.
_KEEP_NEWEST = """
for i = 1, #ARGV, 3 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  if not held or tonumber(string.match(held, '^-?%d+')) <= tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. '|' .. ARGV[i + 2])
  end
end
"""


class Latest:
    """`put` and `get` raise `StoreAway`; `get` needs Redis only to be quick."""

    def __init__(self, redis: Redis, database: Database) -> None:
        self._redis = redis
        self._telemetry = database["telemetry"]
        self._keep_newest = redis.register_script(_KEEP_NEWEST)

    async def put(self, values: Mapping[str, Values]) -> None:
        """Device id → key → (ts in ms, value)."""
        with redis_away():
            async with self._redis.pipeline(transaction=False) as pipe:
                for device, newest in values.items():
                    await self._keep_newest([_name(device)], _arguments(newest), client=pipe)
                await pipe.execute()

    async def get(self, device: str) -> Values:
        """Key → (ts in ms, value) of the device with this id."""
        try:
            with redis_away():
                held = await self._redis.hgetall(_name(device))
        except StoreAway:
            return await self._from_readings(device)
        if _FULL in held:
            return _values(held)
        return await self._refill(device)

    async def _refill(self, device: str) -> Values:
        found = await self._from_readings(device)
        try:
            await self.put({device: found})
            with redis_away():
                await self._redis.hset(_name(device), _FULL, b"1")
                return _values(await self._redis.hgetall(_name(device)))
        except StoreAway:
            return found

    async def _from_readings(self, device: str) -> Values:
        newest: Newest[str] = Newest()
        query = {"_id": device_range(ObjectId(device))}
        with mongo_away():
            cursor = self._telemetry.find(query, {"ts": 1, "v": 1}).sort("_id", -1).limit(LOOK_BACK)
            for document in reversed(await cursor.to_list()):
                newest.add(device, round(document["ts"].timestamp() * 1000), document["v"])
        return newest.take().get(device, {})


def _name(device: str) -> str:
    return f"latest:{device}"


def _arguments(newest: Values) -> list[Any]:
    arguments: list[Any] = []
    for key, (ts, value) in newest.items():
        arguments += (key, ts, msgspec.json.encode(value))
    return arguments


def _values(held: Mapping[Any, Any]) -> Values:
    values: Values = {}
    for key, packed in held.items():
        ts, _, value = packed.partition(b"|")
        if key != _FULL:
            values[key.decode()] = (int(ts), msgspec.json.decode(value))
    return values
