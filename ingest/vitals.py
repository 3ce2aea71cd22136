"""Whether ingest can do its work: what it depends on, asked every second and told to whoever asks."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from broker.subscriber import Subscriber
from core.ledger import Ledger
from ingest.intake import Intake
from ingest.slot import Slot
from ingest.spool import Spool
from store.errors import StoreAway
from store.status import ProcessStatus, Statuses

log = structlog.get_logger()

CHECK_EVERY_S = 1.0

Ping = Callable[[], Awaitable[None]]


class Vitals:
    """`pings`: name → a coroutine that raises `StoreAway`."""

    def __init__(
        self,
        slot: Slot,
        pings: dict[str, Ping],
        subscriber: Subscriber,
        ledger: Ledger,
        intake: Intake,
        spool: Spool,
        statuses: Statuses,
    ) -> None:
        self._slot = slot
        self._pings = pings
        self._subscriber = subscriber
        self._ledger = ledger
        self._intake = intake
        self._spool = spool
        self._statuses = statuses
        self._problems: dict[str, str] = dict.fromkeys(pings, "not asked yet")

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Ready, and each dependency's state with the accounts; of what was last noted."""
        checks = {name: self._problems.get(name, "ok") for name in self._pings}
        checks["broker"] = "ok" if self._subscriber.connection else "not connected"
        ready = all(state == "ok" for state in checks.values())
        return ready, {"id": self._slot.client_id, "checks": checks, "messages": self._messages()}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.gather(*(self._check(name, ping) for name, ping in self._pings.items()))
            if self._subscriber.connection:
                self._slot.note_alive()
            await self._tell()
            await asyncio.sleep(CHECK_EVERY_S)

    async def _check(self, name: str, ping: Ping) -> None:
        try:
            await ping()
        except StoreAway as error:
            if name not in self._problems:
                log.warning("dependency_away", name=name, error=str(error)[:200])
            self._problems[name] = str(error)[:200]
        else:
            if self._problems.pop(name, None):
                log.info("dependency_back", name=name)

    async def _tell(self) -> None:
        ready, detail = self.ready()
        try:
            await self._statuses.put(ProcessStatus("ingest", self._slot.client_id, ready, detail))
        except StoreAway:
            return  # the check of Redis has said so

    def _messages(self) -> dict[str, int]:
        ledger = self._ledger
        return {
            "received": ledger.received,
            "stored": ledger.stored,
            "merged": ledger.merged,
            "dead": ledger.dead,
            "in_flight": ledger.in_flight,
            "spooled": len(self._spool),
            "held": self._intake.held,
        }
