"""The disk spool: what it took it gives back, in order, whoever ended in between."""

from pathlib import Path

import pytest

from ingest.spool import OVERHEAD, Spool, SpoolFull
from ingest.work import Message


def message(number: int, seen: bool = False, size: int = 10) -> Message:
    return Message("v1/a/b/telemetry", bytes([number]) * size, 1000 + number, number, int(seen), False)


async def test_first_in_first_out_over_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "spool.db"
    sent = [message(number, seen=True) for number in range(1, 8)]
    async with Spool.opened(file, 10_000) as spool:
        await spool.append(sent[:4])
        await spool.append(sent[4:])
        await spool.drop(await spool.head(2))
        size = spool.bytes
    async with Spool.opened(file, 10_000) as spool:
        assert (len(spool), spool.bytes) == (5, size)
        assert [kept for _, kept in await spool.head(100)] == sent[2:]


async def test_only_what_was_tried_may_have_been_stored(tmp_path: Path) -> None:
    """A message that never went out must not be taken for the twin that shares its packet id."""
    file = tmp_path / "spool.db"
    async with Spool.opened(file, 10_000) as spool:
        await spool.append([message(1, seen=True), message(2), message(3)])
        assert await flags(spool, 2) == [True, False]
        assert await flags(spool, 2) == [True, True]
        assert await flags(spool, 3) == [True, True, False]
    async with Spool.opened(file, 10_000) as spool:
        assert await flags(spool, 2) == [True, True]
        await spool.drop(await spool.head(3))
        await spool.append([message(4)])
        assert await flags(spool, 1) == [False]


async def flags(spool: Spool, most: int) -> list[bool]:
    return [kept.maybe_seen for _, kept in await spool.head(most)]


async def test_full_takes_nothing_of_a_batch_and_one_batch_always_fits(tmp_path: Path) -> None:
    row = len(message(1).topic) + 10 + OVERHEAD
    async with Spool.opened(tmp_path / "spool.db", 2 * row) as spool:
        await spool.append([message(1)])
        with pytest.raises(SpoolFull, match=f"{row} bytes are held, {2 * row} more exceed {2 * row}"):
            await spool.append([message(2), message(3)])
        assert len(spool) == 1
        await spool.append([message(2)])
        await spool.drop(await spool.head(10))
        await spool.append([message(number) for number in range(5)])
        assert len(spool) == 5
