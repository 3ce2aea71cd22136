"""Puts every message in its place: through the pipeline into MongoDB, or on the spool while MongoDB is away.

While anything is on the spool new batches go behind it, so that the order of arrival is the order of writing.
A message is acked once it is on a majority's journal or on the spool's disk, never before.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby

import structlog

from core.ledger import Ledger
from core.refusal import Refusal
from ingest.intake import Intake
from ingest.pipeline import Pipeline, Windows
from ingest.spool import Spool, SpoolFull
from ingest.work import Work
from store.errors import StoreAway

log = structlog.get_logger()

OnSettled = Callable[[Sequence[Work], Windows], None]

RETRY_S = 0.5
_NO_WINDOWS: Windows = {}


class Keeper:
    """`on_settled` hears of messages after their commit, `on_proof` of a probe (its payload) behind them."""

    def __init__(
        self,
        intake: Intake,
        pipeline: Pipeline,
        spool: Spool,
        ledger: Ledger,
        probe_topic: str,
        batch_size: int,
        on_settled: OnSettled,
        on_proof: Callable[[float], None],
    ) -> None:
        self._intake = intake
        self._pipeline = pipeline
        self._spool = spool
        self._ledger = ledger
        self._probe_topic = probe_topic
        self._batch_size = batch_size
        self._on_settled = on_settled
        self._on_proof = on_proof
        self._current: asyncio.Task[bool] | None = None
        self._is_ending = False
        ledger.receive(len(spool))  # of an earlier run: acked then, not settled yet

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_batches(), name="keep")
            tasks.create_task(self._drain(), name="drain")

    async def finish(self) -> None:
        """Keeps what the intake still holds, as far as the spool has room; call after `run` ended."""
        self._is_ending = True
        is_kept = await self._current if self._current is not None else True
        while is_kept and (batch := self._intake.rest()):
            is_kept = await self._keep(batch)

    async def _keep_batches(self) -> None:
        while True:
            batch = await self._intake.next_batch()
            # A cancelled write would leave the batch's fate unknown: `finish` waits for the one under way.
            self._current = asyncio.create_task(self._keep(batch), name="keep-batch")
            await asyncio.shield(self._current)

    async def _keep(self, batch: Sequence[Work]) -> bool:
        """False where nobody may ack it, nor anything behind it."""
        probes = [work for work in batch if work.message.topic == self._probe_topic]
        works = [work for work in batch if work.message.topic != self._probe_topic] if probes else batch
        left = works if len(self._spool) else await self._settle(works)
        if left:
            if not await self._put_aside(left):
                return False
        elif probes and not len(self._spool):  # what waits there came before the probe
            self._on_proof(float(probes[-1].message.payload))
        _ack(batch)
        self._intake.release(batch)
        return True

    async def _settle(self, works: Sequence[Work]) -> Sequence[Work]:
        """Those left where MongoDB is away, always the last ones; they may have been stored all the same."""
        try:
            windows = await self._pipeline.settle(works) if works else _NO_WINDOWS
        except StoreAway as error:
            log.warning("store_away", messages=len(works), error=str(error)[:200])
            for work in works:
                work.message.tried()
            return works
        except Exception:
            log.exception("batch_failed", messages=len(works))
            return await self._settle_singly(works)
        self._settled(works, windows)
        return ()

    async def _settle_singly(self, works: Sequence[Work]) -> Sequence[Work]:
        """After a fault of ours: the message that trips it goes to the dead letters, its neighbours pass."""
        for work in works:
            work.message.tried()
        for done, work in enumerate(works):
            try:
                windows = await self._settle_or_bury(work)
            except StoreAway:
                return works[done:]
            self._settled([work], windows)
        return ()

    async def _settle_or_bury(self, work: Work) -> Windows:
        try:
            return await self._pipeline.settle([work])
        except StoreAway:
            raise
        except Exception as error:
            log.exception("message_failed", topic=work.message.topic)
            await self._pipeline.bury(
                work, Refusal("internal_error", f"{type(error).__name__}: {error}"[:500])
            )
            return _NO_WINDOWS

    def _settled(self, works: Sequence[Work], windows: Windows) -> None:
        fates = [work.fate for work in works]
        self._ledger.settle(fates.count("stored"), fates.count("merged"), fates.count("dead"))
        self._on_settled(works, windows)

    async def _put_aside(self, works: Sequence[Work]) -> bool:
        """False at the end where there is no room: unacked, they are the broker's to deliver again."""
        while True:
            try:
                await self._spool.append([work.message for work in works])
                return True
            except SpoolFull as error:
                log.warning("spool_full", error=str(error))
                if self._is_ending:
                    return False
                await asyncio.sleep(RETRY_S)

    async def _drain(self) -> None:
        while True:
            if not len(self._spool):
                await asyncio.sleep(RETRY_S)
                continue
            rows = await self._spool.head(self._batch_size)
            left = await self._settle([Work(message) for _, message in rows])
            if done := rows[: len(rows) - len(left)]:
                await self._spool.drop(done)
                log.info("spool_drained", messages=len(done), left=len(self._spool))
            if left:
                await asyncio.sleep(RETRY_S)


def _ack(batch: Sequence[Work]) -> None:
    """In the order of arrival; those of a lost connection go nowhere, the broker delivers them again."""
    for origin, works in groupby(batch, key=lambda work: work.origin):
        if origin is not None:
            origin.ack([packet_id for work in works if (packet_id := work.message.packet_id)])
