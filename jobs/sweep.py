"""The sweep over devices that fell silent, and over those that spoke just as they were put to rest.

Only time counts in which an ingest proved that it heard everything (`core.silence`), and nothing is concluded
about the time after the last such proof: an outage or a restart of ours changes no device.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from core.events import DomainEvent, EventKind
from core.silence import common, cutoff, horizon
from jobs.herald import Herald
from store.observations import Observations
from store.silent import BATCH, Found, Silent

MAX_BATCHES = 500  # of one kind in one sweep; the next one goes on


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds of observed silence; `inactive_s` for devices without a limit of their own."""

    inactive_s: float
    offline_s: float


class Sweep:
    def __init__(
        self,
        silent: Silent,
        observations: Observations,
        herald: Herald,
        limits: Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._silent = silent
        self._observations = observations
        self._herald = herald
        self._limits = limits
        self._clock = clock

    async def run(self) -> dict[str, Any]:
        """The number of devices that each rule changed. Raises `StoreAway`."""
        spans = common(await self._observations.all(), self._clock())
        seen_until = horizon(spans)
        if seen_until is None:
            return {"observed": False}
        at, silent = datetime.fromtimestamp(self._clock(), UTC), self._silent
        told = _Told(self._herald, seen_until, at)
        counts = {"offline": 0, "deactivated": 0}
        if before := cutoff(self._limits.offline_s, spans):
            change = partial(silent.take_offline, before, seen_until)
            counts["offline"] = await told.each(change, EventKind.OFFLINE, "silent")
        for limit in (None, *await silent.own_limits()):
            if before := cutoff(limit or self._limits.inactive_s, spans):
                change = partial(silent.deactivate, limit, before, seen_until, at)
                counts["deactivated"] += await told.each(change, EventKind.DEACTIVATED)
        online, active = partial(silent.bring_online, seen_until), partial(silent.reactivate, seen_until, at)
        counts["online"] = await told.each(online, EventKind.ONLINE, "heard")
        counts["activated"] = await told.each(active, EventKind.ACTIVATED)
        return counts

    async def forget(self) -> dict[str, Any]:
        """Drops the observations that no limit reaches back to, twice over. Raises `StoreAway`."""
        spans = common(await self._observations.all(), self._clock())
        own = await self._silent.own_limits()
        moment = cutoff(2 * max(self._limits.inactive_s, self._limits.offline_s, *own), spans)
        return {"spans": await self._observations.forget(moment) if moment is not None else 0}


@dataclass(frozen=True, slots=True)
class _Told:
    """Changes of one sweep, and the events that tell of them."""

    herald: Herald
    seen_until: float
    at: datetime

    async def each(
        self, change: Callable[[], Awaitable[list[Found]]], kind: EventKind, reason: str | None = None
    ) -> int:
        """Batch after batch while they are full; a device's event follows the commit of its change."""
        changed = 0
        for _ in range(MAX_BATCHES):
            batch = await change()
            changed += len(batch)
            for found in batch:
                await self.herald.announce(self._event(found, kind, reason))
            if len(batch) < BATCH:
                break
        return changed

    def _event(self, found: Found, kind: EventKind, reason: str | None) -> DomainEvent:
        """`silent_s`: from when it was last heard to the end of what was observed, outages included."""
        data: dict[str, Any] = {}
        if kind in (EventKind.OFFLINE, EventKind.DEACTIVATED):
            seen = found.last_seen
            data["silent_s"] = None if seen is None else round(self.seen_until - seen, 1)
        if reason:
            data |= {"reason": reason, "session": found.session}
        return DomainEvent(found.org, found.device, kind, round(self.at.timestamp() * 1000), data)
