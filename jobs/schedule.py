"""The clock: APScheduler fires each job at multiples of its interval, so that all processes tick alike."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]  # it has no types
from apscheduler.triggers.interval import IntervalTrigger  # type: ignore[import-untyped]

from jobs.runner import Job, Runner

_EPOCH = datetime.fromtimestamp(0, UTC)


@asynccontextmanager
async def scheduled(jobs: Sequence[Job], runner: Runner) -> AsyncIterator[None]:
    """Runs them for the length of the block; a run that is under way at its end is cancelled and awaited.

    A tick that comes while the job still runs is dropped, as are all but one of those that were missed.
    """
    running: set[asyncio.Task[None]] = set()

    async def tick(job: Job) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        running.add(task)
        try:
            await runner.tick(job)
        except asyncio.CancelledError:
            return  # the end of the block; APScheduler would log it as an error
        finally:
            running.discard(task)

    scheduler = AsyncIOScheduler(timezone=UTC)
    for job in jobs:
        scheduler.add_job(
            tick,
            _aligned(job.every_s),
            args=(job,),
            id=job.name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _aligned(every_s: float) -> IntervalTrigger:
    return IntervalTrigger(seconds=every_s, start_date=_EPOCH, timezone=UTC)
