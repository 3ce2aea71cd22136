"""Latest values, last-seen times and live frames: gathered after each commit, sent to Redis at a steady pace.

One by one they would cost ten times as much. Redis away loses no message: what is gathered is merged and
waits, one value a device and key.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from core.newest import Newest, Values
from core.topics import Uplink
from ingest.work import Work
from store.errors import StoreAway
from store.fleet import KnownDevice
from store.latest import Latest
from store.live import Live, readings_frame
from store.seen import Seen

log = structlog.get_logger()

Names = Mapping[str, tuple[str, str]]  # device id → organisation, device
Heard = Mapping[str, Mapping[str, int]]  # organisation → device → ms

MAX_WAITING = 200_000  # devices whose newest values wait for Redis to come back


class Fanout:
    def __init__(self, latest: Latest, seen: Seen, live: Live, every_s: float) -> None:
        self._latest = latest
        self._seen = seen
        self._live = live
        self._every_s = every_s
        self._newest: Newest[str] = Newest()
        self._names: dict[str, tuple[str, str]] = {}  # device id → organisation, device
        self._heard: dict[str, dict[str, int]] = defaultdict(dict)

    def add(self, works: Sequence[Work]) -> None:
        for work in works:
            device = work.device
            if device is None or work.refusal is not None:
                continue
            if not work.message.retain:
                self._heard[device.org][device.device] = work.message.received
            if work.kind is Uplink.TELEMETRY:
                self._add_readings(device, work)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.flush()

    async def flush(self) -> None:
        newest, names = self._newest.take(), self._names
        heard, self._heard, self._names = self._heard, defaultdict(dict), {}
        try:
            await self._send(newest, names, heard)
        except StoreAway as error:
            log.warning("redis_away", devices=len(newest), error=str(error))
            self._take_back(newest, names, heard)
        except asyncio.CancelledError:
            self._take_back(newest, names, heard)
            raise

    async def _send(self, newest: Mapping[str, Values], names: Names, heard: Heard) -> None:
        if newest:
            await self._latest.put(newest)
            await self._live.send(_frames(newest, names))
        if heard:
            await self._seen.put(heard)

    def _add_readings(self, device: KnownDevice, work: Work) -> None:
        self._names[device.name] = (device.org, device.device)
        for entry in work.entries:
            self._newest.add(device.name, entry.ts, entry.values)

    def _take_back(self, newest: Mapping[str, Values], names: Names, heard: Heard) -> None:
        """Older than whatever came meanwhile, which the times sort out."""
        for org, times in heard.items():
            self._heard[org] = {**times, **self._heard[org]}
        for device, values in newest.items():
            if len(self._newest) >= MAX_WAITING:
                return
            self._names.setdefault(device, names[device])
            for key, (ts, value) in values.items():
                self._newest.add(device, ts, {key: value})


def _frames(newest: Mapping[str, Values], names: Names) -> dict[str, bytes]:
    """Organisation → one frame with every device of it that spoke."""
    by_org: dict[str, dict[str, tuple[int, Mapping[str, Any]]]] = defaultdict(dict)
    for device, values in newest.items():
        org, slug = names[device]
        ts = max(ts for ts, _ in values.values())
        by_org[org][slug] = (ts, {key: value for key, (_, value) in values.items()})
    now = int(time.time() * 1000)
    return {org: readings_frame(now, devices) for org, devices in by_org.items()}
