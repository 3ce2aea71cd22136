"""Live frames to many viewers: one subscription in Redis per organisation, one bounded queue per viewer.

A viewer that reads too slowly loses the oldest frames and is told how many. It slows nobody, and since all
queues share the frames themselves it costs little more than its pointers.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import msgspec
import structlog

from api.metrics import Metrics
from store.errors import StoreAway
from store.live import Live

log = structlog.get_logger()

QUEUE = 64  # frames a viewer may be behind: 16 s at ingest's pace of four a second
RETRY_S = 1.0
LIVE = "live"
AWAY = "redis is away; frames are missing until it is back"


class Frame(msgspec.Struct, frozen=True):
    """A frame of `store.live`, read as far as viewers differ in it; values stay the bytes they came as."""

    type: str
    raw: msgspec.Raw = msgspec.Raw(b"")
    at: int = 0
    kind: str = ""
    device: str = ""
    devices: dict[str, msgspec.Raw] = {}

    def data(self, device: str | None) -> bytes | None:
        """JSON for a viewer of one device, or of all (None); None where the frame does not concern it."""
        if device is None or device == self.device:
            return bytes(self.raw)
        if device not in self.devices:
            return None
        only = {device: self.devices[device]}
        return msgspec.json.encode({"type": self.type, "at": self.at, "devices": only})


def read_frame(raw: bytes) -> Frame:
    """Raises `msgspec.DecodeError`."""
    return msgspec.structs.replace(msgspec.json.decode(raw, type=Frame), raw=msgspec.Raw(raw))


class Viewer:
    """What one client still has to be sent: frames, notes (comments), and how much it missed."""

    def __init__(self, size: int = QUEUE) -> None:
        self._items: deque[Frame | str] = deque()
        self._size = size
        self._changed = asyncio.Event()
        self._missed = 0
        self.is_closed = False

    def put(self, item: Frame | str) -> int:
        """The number of frames dropped for this one, 0 or 1."""
        dropped = 0
        if len(self._items) == self._size:
            self._items.popleft()
            self._missed += 1
            dropped = 1
        self._items.append(item)
        self._changed.set()
        return dropped

    def close(self) -> None:
        self.is_closed = True
        self._changed.set()

    async def take(self, timeout_s: float) -> tuple[list[Frame | str], int]:
        """All that waits, and how many frames were dropped since the last call; nothing after `timeout_s`."""
        if not self._items and not self.is_closed:
            self._changed.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait()
            except TimeoutError:
                return [], 0
        items, missed = list(self._items), self._missed
        self._items.clear()
        self._missed = 0
        return items, missed


@dataclass(slots=True)
class _Channel:
    """One organisation's viewers, and the task that brings them what Redis tells."""

    viewers: set[Viewer] = field(default_factory=set)
    relay: asyncio.Task[None] | None = None
    is_live: bool = False


class Fanout:
    """Use as `async with Fanout.running(live, metrics)`."""

    def __init__(self, live: Live, metrics: Metrics, tasks: asyncio.TaskGroup) -> None:
        self._live = live
        self._metrics = metrics
        self._tasks = tasks
        self._channels: dict[str, _Channel] = {}
        self._is_closed = False

    @classmethod
    @asynccontextmanager
    async def running(cls, live: Live, metrics: Metrics) -> AsyncIterator["Fanout"]:
        async with asyncio.TaskGroup() as tasks:
            fanout = cls(live, metrics, tasks)
            try:
                yield fanout
            finally:
                fanout.close()
                for channel in fanout._channels.values():
                    _stop(channel)

    def close(self) -> None:
        """Ends every stream, and those that come after at once."""
        self._is_closed = True
        for channel in self._channels.values():
            for viewer in channel.viewers:
                viewer.close()

    @contextmanager
    def viewing(self, org: str) -> Iterator[Viewer]:
        """A viewer of one organisation; the first one subscribes, the last one to leave ends that."""
        viewer = Viewer()
        if self._is_closed:
            viewer.close()
            yield viewer
            return
        channel = self._join(org, viewer)
        self._metrics.live_clients.inc()
        try:
            yield viewer
        finally:
            self._metrics.live_clients.dec()
            channel.viewers.remove(viewer)
            if not channel.viewers:
                del self._channels[org]
                _stop(channel)

    def _join(self, org: str, viewer: Viewer) -> _Channel:
        channel = self._channels.get(org)
        if channel is None:
            channel = self._channels[org] = _Channel()
            channel.relay = self._tasks.create_task(self._relay(org, channel), name=f"live-{org}")
        if channel.is_live:
            viewer.put(LIVE)
        channel.viewers.add(viewer)
        return channel

    async def _relay(self, org: str, channel: _Channel) -> None:
        """From Redis to the viewers; over an outage of Redis with a note at its begin and its end."""
        while True:
            try:
                async with self._live.frames(org) as frames:
                    self._tell(channel, LIVE)
                    channel.is_live = True
                    async for raw in frames:
                        self._show(channel, raw)
            except StoreAway as error:
                log.warning("live_away", org=org, error=str(error))
            if channel.is_live:
                self._tell(channel, AWAY)
                channel.is_live = False
            await asyncio.sleep(RETRY_S)

    def _show(self, channel: _Channel, raw: bytes) -> None:
        try:
            self._tell(channel, read_frame(raw))
        except msgspec.DecodeError as error:
            log.error("frame_unreadable", error=str(error))

    def _tell(self, channel: _Channel, item: Frame | str) -> None:
        for viewer in channel.viewers:
            self._metrics.live_dropped.inc(viewer.put(item))


def _stop(channel: _Channel) -> None:
    if channel.relay is not None:
        channel.relay.cancel()
