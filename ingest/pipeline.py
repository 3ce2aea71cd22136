"""The path of a batch of messages: read, resolve, write, and only then told.

`settle` returns when every message of the batch is stored, merged or in the dead-letter inbox, on a
majority's journal. It raises `StoreAway` where MongoDB cannot promise that: then nothing was told to anybody,
and the batch may be settled again.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from core.presence import on_status
from core.refusal import Refusal
from core.sequences import Window
from core.topics import Uplink
from ingest.directory import Directory
from ingest.work import Work, enter, read
from store.dead_letters import DeadLetter, DeadLetters
from store.fleet import Fleet
from store.parallel import each
from store.sequences import Sequences
from store.writes import Entry, Fate, Readings

Windows = dict[bytes, Window]


@dataclass(frozen=True, slots=True)
class Pipeline:
    directory: Directory
    fleet: Fleet
    logs: dict[Uplink, Readings]  # telemetry, heartbeat, event: where each kind is written
    dead_letters: DeadLetters
    sequences: Sequences

    async def settle(self, batch: Sequence[Work]) -> Windows:
        """Sets the fate of each work; gives the receipt windows of the devices that count their messages."""
        for work in batch:
            work.reset()
            read(work)
        await self._resolve(batch)
        await self._find_repeated(batch)
        await self._write(batch)
        await self._apply_statuses(batch)
        _refuse_rejected(batch)
        await self._bury(batch)
        return await self._count(batch)

    async def bury(self, work: Work, refusal: Refusal) -> None:
        """To the dead letters, whatever else was to become of it."""
        work.refusal = refusal
        await self._bury([work])

    async def _resolve(self, batch: Sequence[Work]) -> None:
        addressed = [(work, work.address.path) for work in batch if work.address]
        devices = await self.directory.resolve(path for _, path in addressed)
        for work, path in addressed:
            device = devices[path]
            if device is not None:
                enter(work, device)
            elif work.refusal is None and not work.is_void:
                work.refusal = Refusal("unknown_device", f"there is no device {path!r}", "create it first")

    async def _find_repeated(self, batch: Sequence[Work]) -> None:
        """Marks entries that an earlier attempt stored under a server time, which is not their key.

        The earlier one may be in this very batch: a message that waits while its connection breaks is met by
        its second delivery.
        """
        suspects = [work for work in batch if work.message.maybe_seen]
        for kind, log in self.logs.items():
            since = {
                entry.delivery: work.message.since
                for work in suspects
                for entry in work.entries
                if work.kind is kind and entry.delivery is not None
            }
            if since:
                seen = await log.seen(since)
                for work in batch:
                    if work.kind is kind:
                        _mark_repeated(work, seen)

    async def _write(self, batch: Sequence[Work]) -> None:
        for kind, entries in _by_kind(batch).items():
            await self.logs[kind].write([entry for entry in entries if entry.fate is Fate.STORED])

    async def _apply_statuses(self, batch: Sequence[Work]) -> None:
        by_device: dict[bytes, list[Work]] = defaultdict(list)
        for work in batch:
            if work.status and work.device and not work.refusal:
                by_device[work.device.key].append(work)
        await each(self._apply_in_order(works) for works in by_device.values())

    async def _apply_in_order(self, works: Sequence[Work]) -> None:
        for work in works:
            await self._apply_status(work)

    async def _apply_status(self, work: Work) -> None:
        while work.device and work.status:
            before = work.device.presence
            after = on_status(before, work.status, work.message.received, retained=work.message.retain)
            if after is before:
                return
            if await self.fleet.set_presence(work.device.key, before, after):
                work.device.presence = after
                work.is_new_status = True
                return
            self.directory.forget(work.device.path)
            fresh = await self.directory.resolve([work.device.path])
            work.device = fresh[work.device.path]

    async def _bury(self, batch: Sequence[Work]) -> None:
        dead = [work for work in batch if work.refusal]
        since = {work.message.delivery(): work.message.since for work in dead if work.message.maybe_seen}
        buried = await self.dead_letters.seen(since)
        letters = []
        for work in dead:
            letter = _letter(work)
            if not (work.message.maybe_seen and letter.delivery in buried):
                letters.append(letter)
            buried.add(letter.delivery)
        await self.dead_letters.add(letters)

    async def _count(self, batch: Sequence[Work]) -> Windows:
        settled: dict[bytes, list[tuple[int, bool]]] = defaultdict(list)
        for work in batch:
            if work.device and (seqs := work.seqs):
                settled[work.device.key] += seqs
        return await self.sequences.settle(settled)


def _mark_repeated(work: Work, seen: set[int]) -> None:
    for entry in work.entries:
        if entry.delivery is not None:
            if work.message.maybe_seen and entry.delivery in seen:
                entry.fate = Fate.MERGED
            seen.add(entry.delivery)


def _by_kind(works: Sequence[Work]) -> dict[Uplink, list[Entry]]:
    """The entries of those not refused, in order."""
    entries: dict[Uplink, list[Entry]] = {}
    for work in works:
        if work.entries and work.refusal is None and work.kind is not None:
            entries.setdefault(work.kind, []).extend(work.entries)
    return entries


def _refuse_rejected(batch: Sequence[Work]) -> None:
    for work in batch:
        for entry in work.entries:
            if entry.fate is Fate.REJECTED:
                work.refusal = Refusal("not_storable", entry.reason)


def _letter(work: Work) -> DeadLetter:
    message, address = work.message, work.address
    refusal = work.refusal
    assert refusal is not None  # noqa: S101 (only what was refused is buried)
    return DeadLetter(
        at=message.received,
        topic=message.topic,
        payload=message.payload,
        refusal=refusal,
        delivery=message.delivery(),
        org=address.org if address else None,
        device=address.device if address else None,
    )
