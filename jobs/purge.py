"""Deleted devices' data goes a second time, when no ingest can have the device in memory any more."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from store.errors import StoreAway
from store.purge import Purge, Tombstone
from store.traces import Traces

log = structlog.get_logger()

BATCH = 100


class Gravedigger:
    """`after_s`: the age at which a tombstone is due; more than an ingest's memory of devices lasts."""

    def __init__(
        self, purge: Purge, traces: Traces, after_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._purge = purge
        self._traces = traces
        self._after_s = after_s
        self._clock = clock

    async def run(self) -> dict[str, Any]:
        """Raises `StoreAway` where MongoDB is; a tombstone stays until its data is gone."""
        devices = documents = 0
        due = datetime.fromtimestamp(self._clock() - self._after_s, UTC)
        while batch := await self._purge.tombstones(due, BATCH):
            for tombstone in batch:
                documents += await self._purge.device(tombstone.id)
                documents += await self._purge.letters(tombstone.org, tombstone.device, tombstone.at)
                await self._forget(tombstone)
                await self._purge.bury(tombstone)
                devices += 1
        return {"devices": devices, "documents": documents}

    async def _forget(self, tombstone: Tombstone) -> None:
        """Without Redis nothing is left there to forget, or soon will be."""
        try:
            await self._traces.remove(tombstone.id, tombstone.org, tombstone.device)
        except StoreAway as error:
            log.warning("traces_left", org=tombstone.org, device=tombstone.device, error=str(error))
