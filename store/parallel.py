"""Many small writes that each wait for a majority's journal: side by side they share one wait."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

Result = TypeVar("Result")

AT_ONCE = 64  # below the driver's pool of 100 connections


async def each(awaitables: Iterable[Awaitable[Result]]) -> list[Result]:
    """Their results in order. Where some fail, all the others have ended when the first failure is raised."""
    results: list[Result] = []
    waiting = list(awaitables)
    while waiting:
        chunk, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
        outcomes = await asyncio.gather(*chunk, return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            _close(waiting)
            raise failures[0]
        results += [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    return results


def _close(awaitables: Iterable[Awaitable[object]]) -> None:
    """Coroutines that will not be run complain otherwise."""
    for awaitable in awaitables:
        if asyncio.iscoroutine(awaitable):
            awaitable.close()
