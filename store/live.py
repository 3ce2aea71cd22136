"""Live frames and domain events over Redis: pub/sub for screens, a Stream for those who must not miss one.

Channels: `live:{org}` carries frames, `devices:changed` the path of each device that was edited or deleted.
A frame is JSON, `{"type":"readings","at":ms,"devices":{slug:{"ts":ms,"values":{…}}}}` or
`{"type":"event","kind":…,"device":slug,"at":ms,"data":{…}}`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from redis.asyncio import Redis

from core.events import DomainEvent
from store.errors import StoreAway
from store.redis import away_as_store_error

STREAM_LENGTH = 100_000  # events kept for consumers that come back; about 30 MB
_CHANGED = "devices:changed"


def readings_frame(at: int, devices: Mapping[str, tuple[int, Mapping[str, Any]]]) -> bytes:
    """`devices`: slug → (ts in ms, values)."""
    body = {slug: {"ts": ts, "values": values} for slug, (ts, values) in devices.items()}
    return msgspec.json.encode({"type": "readings", "at": at, "devices": body})


def event_frame(event: DomainEvent) -> bytes:
    frame = {"type": "event", "kind": event.kind, "device": event.device, "at": event.at, "data": event.data}
    return msgspec.json.encode(frame)


class Live:
    """Every method raises `StoreAway` where Redis cannot be reached; what it was to tell is then lost."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def announce(self, *events: DomainEvent) -> None:
        with away_as_store_error():
            async with self._redis.pipeline(transaction=False) as pipe:
                for event in events:
                    frame = event_frame(event)
                    stream = f"events:{event.org}"
                    pipe.xadd(stream, {"event": frame}, maxlen=STREAM_LENGTH, approximate=True)
                    pipe.publish(f"live:{event.org}", frame)
                await pipe.execute()

    async def send(self, frames: Mapping[str, bytes]) -> None:
        """Organisation → frame."""
        with away_as_store_error():
            async with self._redis.pipeline(transaction=False) as pipe:
                for org, frame in frames.items():
                    pipe.publish(f"live:{org}", frame)
                await pipe.execute()

    async def device_changed(self, path: str) -> None:
        """Tells every process that caches devices to forget this one."""
        with away_as_store_error():
            await self._redis.publish(_CHANGED, path)

    @asynccontextmanager
    async def frames(self, org: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Frames of one organisation from now on; the iterator ends where Redis goes away."""
        async with self._subscribed(f"live:{org}") as messages:
            yield messages

    @asynccontextmanager
    async def changed_devices(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """Paths of edited and deleted devices from now on; the iterator ends where Redis goes away."""
        async with self._subscribed(_CHANGED) as messages:
            yield messages

    @asynccontextmanager
    async def _subscribed(self, channel: str) -> AsyncIterator[AsyncIterator[bytes]]:
        pubsub = self._redis.pubsub()
        try:
            with away_as_store_error():
                await pubsub.subscribe(channel)
            yield _messages(pubsub)
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped


async def _messages(pubsub: Any) -> AsyncIterator[bytes]:
    while True:
        try:
            with away_as_store_error():
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0)
        except StoreAway:
            return
        if message is not None:
            yield message["data"]
