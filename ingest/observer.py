"""Proves that somebody listens: a probe goes to the broker and comes back through the very queue of ingest.

A probe that was sent at t and settled proves that every message the broker had taken for us before t is
settled too. The span of such proofs is what jobs count as observed silence (`core.silence`).
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from broker.subscriber import Subscriber
from store.observations import Observations

log = structlog.get_logger()

PROBE_EVERY_S = 5.0
GAP = 3  # probes without a proof, after which nobody was known to listen


class Observer:
    """`proof`: when the newest probe that came through was sent, in seconds since 1970."""

    def __init__(
        self,
        subscriber: Subscriber,
        observations: Observations,
        ingest_id: str,
        probe_topic: str,
        every_s: float = PROBE_EVERY_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._subscriber = subscriber
        self._observations = observations
        self._ingest_id = ingest_id
        self._probe_topic = probe_topic
        self._every_s = every_s
        self._clock = clock
        self._start: float | None = None
        self.proof: float | None = None

    async def run(self) -> None:
        """Sends probes until cancelled."""
        while True:
            self._subscriber.publish(self._probe_topic, f"{self._clock():.3f}".encode())
            await asyncio.sleep(self._every_s)

    def prove(self, sent: float) -> None:
        if self.proof is None or sent - self.proof > GAP * self._every_s:
            self._start = sent
        self.proof = max(sent, self.proof or sent)

    async def record(self, proof: float | None) -> None:
        """Raises `StoreAway`; call once all that was heard before `proof` is stored with its time."""
        if proof is not None and self._start is not None and proof > self._start:
            await self._observations.extend(self._ingest_id, self._start, proof)
