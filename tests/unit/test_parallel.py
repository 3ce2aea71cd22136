"""Writes side by side: results in order, and nothing left running when one fails."""

import asyncio
from contextlib import suppress

import pytest

from store import cancellation
from store.parallel import AT_ONCE, each


async def test_results_come_in_the_order_of_the_calls() -> None:
    async def late(number: int) -> int:
        await asyncio.sleep((number % 3) / 1000)
        return number

    assert await each(late(number) for number in range(2 * AT_ONCE + 3)) == list(range(2 * AT_ONCE + 3))


async def test_a_failure_waits_for_its_neighbours_and_stops_what_follows() -> None:
    ended: list[int] = []

    async def run(number: int) -> None:
        if number == 0:
            raise ValueError("the first one")
        await asyncio.sleep(0.001)
        ended.append(number)

    with pytest.raises(ValueError, match="the first one"):
        await each(run(number) for number in range(AT_ONCE + 5))
    assert ended == list(range(1, AT_ONCE))


async def test_a_swallowed_cancellation_is_raised_all_the_same() -> None:
    reached = False

    async def swallow() -> None:
        nonlocal reached
        with cancellation.kept():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(10)
            reached = True
        await asyncio.sleep(10)

    task = asyncio.create_task(swallow())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reached


async def test_cleaning_up_in_a_cancelled_task_is_left_alone() -> None:
    cleaned = False

    async def clean_up() -> None:
        nonlocal cleaned
        try:
            await asyncio.sleep(10)
        finally:
            with cancellation.kept():
                await asyncio.sleep(0)
            cleaned = True

    task = asyncio.create_task(clean_up())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned
