"""Who was heard: last-seen times to MongoDB, and devices that were offline or inactive back to life."""

import asyncio
from collections import deque
from collections.abc import Sequence

import structlog

from core.events import DomainEvent, EventKind
from core.presence import on_heard
from core.topics import Uplink
from ingest.directory import Directory
from ingest.herald import Herald
from ingest.observer import Observer
from ingest.work import Work
from store.errors import StoreAway
from store.fleet import Fleet, KnownDevice
from store.writes import Fate

log = structlog.get_logger()

WAKE_EVERY_S = 0.25
MAX_EVENTS = 10_000  # that wait to be announced; beyond them the oldest are dropped


class Attendance:
    """A message counts as being heard when it arrives; a retained one is from another time and does not."""

    def __init__(
        self, fleet: Fleet, directory: Directory, herald: Herald, observer: Observer, every_s: float
    ) -> None:
        self._fleet = fleet
        self._directory = directory
        self._herald = herald
        self._observer = observer
        self._every_s = every_s
        self._last_seen: dict[bytes, int] = {}
        self._woken: dict[str, int] = {}  # path → when it was heard
        self._events: deque[DomainEvent] = deque(maxlen=MAX_EVENTS)

    def add(self, works: Sequence[Work]) -> None:
        for work in works:
            device = work.device
            if device is None or work.refusal is not None:
                continue
            if work.is_new_status:
                self._events.append(_presence_event(device))
            if work.kind is Uplink.EVENT:
                self._events += _logged(work, device)
            if work.message.retain:
                continue
            self._last_seen[device.key] = work.message.received
            is_there = device.presence.state == "online" or work.kind is Uplink.STATUS
            if not (is_there and device.is_active):
                self._woken[device.path] = work.message.received

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wake_all(), name="wake")
            tasks.create_task(self._keep_times(), name="last-seen")
            tasks.create_task(self._tell(), name="events")

    async def flush(self) -> None:
        """Last-seen times reach MongoDB, and only then the time in which we listened."""
        last_seen, proof = dict(self._last_seen), self._observer.proof
        try:
            await self._fleet.heard(last_seen)
            await self._observer.record(proof)
        except StoreAway as error:
            log.warning("last_seen_waits", devices=len(self._last_seen), error=str(error)[:200])
            return
        for key, at in last_seen.items():
            if self._last_seen[key] == at:  # not heard again meanwhile
                del self._last_seen[key]

    async def _keep_times(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self.flush()

    async def _wake_all(self) -> None:
        while True:
            await asyncio.sleep(WAKE_EVERY_S)
            woken, self._woken = self._woken, {}
            try:
                for path in list(woken):
                    await self._wake(path, woken[path])
                    del woken[path]
            except StoreAway:
                self._woken = woken | self._woken

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(WAKE_EVERY_S)
            await self.tell()

    async def tell(self) -> None:
        """Announces what has happened since the last time."""
        events = list(self._events)
        self._events.clear()
        if events:
            await self._herald.announce(events)

    async def _wake(self, path: str, at: int) -> None:
        device = (await self._directory.resolve([path]))[path]
        if device is None:
            return
        if not device.is_active:
            if await self._fleet.activate(device.key, at):
                self._events.append(DomainEvent(device.org, device.device, EventKind.ACTIVATED, at))
            device.is_active = True
        after = on_heard(device.presence, at)
        if after is not device.presence:
            if await self._fleet.set_presence(device.key, device.presence, after):
                device.presence = after
                self._events.append(_presence_event(device))
            else:
                self._directory.forget(path)
                self._woken[path] = at


def _presence_event(device: KnownDevice) -> DomainEvent:
    presence = device.presence
    kind = EventKind.ONLINE if presence.state == "online" else EventKind.OFFLINE
    data = {"reason": presence.reason, "session": presence.session}
    return DomainEvent(device.org, device.device, kind, presence.since or 0, data)


def _logged(work: Work, device: KnownDevice) -> list[DomainEvent]:
    return [
        DomainEvent(device.org, device.device, EventKind.LOGGED, entry.ts, entry.values)
        for entry in work.entries
        if entry.fate is Fate.STORED
    ]
