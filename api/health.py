"""Whether this process can do its work: each dependency with its state, latency and error."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from broker.login import BrokerAway
from store.errors import StoreAway
from store.status import Statuses

BOUND_S = 2.0
CACHE_S = 0.5

Probe = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Report:
    is_ready: bool
    checks: Mapping[str, Mapping[str, Any]]


class Health:
    """`probes`: name to a call that returns when the dependency answers and raises where it is away."""

    def __init__(self, probes: Mapping[str, Probe], statuses: Statuses) -> None:
        self._probes = probes
        self._statuses = statuses
        self._lock = asyncio.Lock()
        self._report = Report(False, {})
        self._until = 0.0

    async def report(self) -> Report:
        """Ready: every probe answers and at least one ingest says that it is ready. Jobs may be missing."""
        async with self._lock:
            if time.monotonic() >= self._until:
                self._report = await self._look()
                self._until = time.monotonic() + CACHE_S
            return self._report

    async def _look(self) -> Report:
        names = list(self._probes)
        *probed, ingest, jobs = await asyncio.gather(
            *(_probe(self._probes[name]) for name in names),
            self._processes("ingest"),
            self._processes("jobs"),
        )
        checks = {**dict(zip(names, probed, strict=True)), "ingest": ingest, "jobs": jobs}
        is_ready = all(check["state"] == "up" for name, check in checks.items() if name != "jobs")
        return Report(is_ready, checks)

    async def _processes(self, kind: str) -> dict[str, Any]:
        """`unknown` where Redis, through which they report, is away."""
        try:
            async with asyncio.timeout(BOUND_S):
                found = await self._statuses.all(kind)
        except (StoreAway, TimeoutError) as error:
            return {"state": "unknown", "error": _text(error), "processes": []}
        if any(status.ready for status in found):
            state, error_text = "up", {}
        else:
            reason = f"none of {len(found)} is ready" if found else f"no {kind} process has reported"
            state, error_text = "down", {"error": reason}
        return {"state": state, **error_text, "processes": [asdict(status) for status in found]}


async def _probe(probe: Probe) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(BOUND_S):
            await probe()
    except (StoreAway, BrokerAway, TimeoutError) as error:
        return {"state": "down", "error": _text(error)}
    return {"state": "up", "latency_ms": round((time.perf_counter() - started) * 1000, 2)}


def _text(error: Exception) -> str:
    return str(error)[:300] or f"no answer within {BOUND_S:g} s"
