"""Whether jobs can do their work: what they depend on, asked every few seconds and told to whoever asks."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from broker.login import BrokerAway
from store.errors import StoreAway
from store.status import ProcessStatus, Statuses

log = structlog.get_logger()

CHECK_EVERY_S = 5.0
FIRST_CHECKS_EVERY_S = 0.2  # until all is well for the first time: whoever starts us waits for it

Ping = Callable[[], Awaitable[None]]


class Vitals:
    """`pings`: name → a coroutine that raises `StoreAway` or `BrokerAway`."""

    def __init__(self, process: str, pings: Mapping[str, Ping], statuses: Statuses) -> None:
        self._process = process
        self._pings = pings
        self._statuses = statuses
        self._checks: dict[str, str] = dict.fromkeys(pings, "not asked yet")
        self._was_ready = False

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Ready, and each dependency's state; of what was last noted."""
        checks = dict(self._checks)
        return all(state == "ok" for state in checks.values()), {"id": self._process, "checks": checks}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.gather(*(self._check(name, ping) for name, ping in self._pings.items()))
            await self._tell()
            await asyncio.sleep(CHECK_EVERY_S if self._was_ready else FIRST_CHECKS_EVERY_S)

    async def _check(self, name: str, ping: Ping) -> None:
        before = self._checks[name]
        try:
            await ping()
        except (StoreAway, BrokerAway) as error:
            self._checks[name] = str(error)[:200] or type(error).__name__
            if before == "ok":
                log.warning("dependency_away", name=name, error=self._checks[name])
        else:
            self._checks[name] = "ok"
            if before != "ok" and self._was_ready:
                log.info("dependency_back", name=name)

    async def _tell(self) -> None:
        ready, detail = self.ready()
        self._was_ready = self._was_ready or ready
        try:
            await self._statuses.put(ProcessStatus("jobs", self._process, ready, detail))
        except StoreAway:
            return  # the check of Redis has said so
