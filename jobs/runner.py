"""Runs a job's tick: once among all processes, recorded, measured, and never ending the process."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from jobs.metrics import Metrics
from jobs.slots import slot
from store.errors import StoreAway
from store.job_runs import JobRuns

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Job:
    """`work` gives what it did, for the record; whatever becomes of it, the next tick calls it again."""

    name: str
    every_s: float
    work: Callable[[], Awaitable[dict[str, Any]]]


class Runner:
    """`process` names this process in the records; `clock` in s since 1970."""

    def __init__(
        self, runs: JobRuns, metrics: Metrics, process: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._runs = runs
        self._metrics = metrics
        self._process = process
        self._clock = clock

    async def tick(self, job: Job) -> None:
        """Raises nothing: the next tick covers what this one missed."""
        tick = f"{slot(self._clock(), job.every_s):.3f}"
        try:
            if await self._runs.claim(job.name, tick, self._process, datetime.now(UTC)):
                await self._run(job, tick)
        except StoreAway as error:
            self._metrics.outcomes.labels(job.name, "away").inc()
            log.warning("job_away", job=job.name, error=str(error)[:200])

    async def _run(self, job: Job, tick: str) -> None:
        start = time.monotonic()
        try:
            result = await job.work()
        except Exception as error:
            duration_s = self._took(job, "failed", start)
            if isinstance(error, StoreAway):
                log.warning("job_away", job=job.name, error=str(error)[:200])
            else:
                log.exception("job_failed", job=job.name)
            await self._runs.failed(job.name, tick, duration_s, f"{type(error).__name__}: {error}"[:1000])
        else:
            duration_s = self._took(job, "succeeded", start)
            log.debug("job_succeeded", job=job.name, duration_s=duration_s, **result)
            await self._runs.succeeded(job.name, tick, duration_s, result)

    def _took(self, job: Job, outcome: str, start: float) -> float:
        duration_s = round(time.monotonic() - start, 4)
        self._metrics.outcomes.labels(job.name, outcome).inc()
        self._metrics.duration_s.labels(job.name).observe(duration_s)
        if outcome == "succeeded":
            self._metrics.last_success.labels(job.name).set(self._clock())
        return duration_s
