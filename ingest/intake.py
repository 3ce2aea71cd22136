"""Where deliveries wait for their batch. At the bound the socket rests, and the broker keeps the rest."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence

from broker.codec import Delivery
from broker.connection import Connection
from core.batching import Batcher
from core.ledger import Ledger
from ingest.work import Message, Work

BATCH_BYTES = 2 * 2**20  # payload; a reading takes about ten times its JSON while it is worked on


class Intake:
    """`window` in messages, `window_bytes` of payload: held from arrival to `release`."""

    def __init__(
        self,
        ledger: Ledger,
        probe_topic: str,
        window: int,
        window_bytes: int,
        batch_size: int,
        batch_age_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._probe_topic = probe_topic
        self._window = window
        self._window_bytes = window_bytes
        self._batcher: Batcher[Work] = Batcher(batch_size, BATCH_BYTES, batch_age_s)
        self._clock = clock
        self._arrival = asyncio.Event()
        self._paused: Connection | None = None
        # No packet id stands for a message at QoS 0: below zero, and apart from those of earlier runs.
        self._unnumbered = itertools.count(-time.time_ns(), -1)
        self.held = 0
        self.held_bytes = 0

    def on_deliveries(self, connection: Connection, deliveries: Sequence[Delivery]) -> None:
        """Called by the connection with what one read of the socket brought."""
        received, now = int(self._clock() * 1000), time.monotonic()
        probes = 0
        for delivery in deliveries:
            identity = delivery.packet_id or next(self._unnumbered)
            message = Message(
                delivery.topic, delivery.payload, received, identity, delivery.dup, delivery.retain
            )
            self._batcher.add(now, Work(message, connection), len(delivery.payload))
            self.held_bytes += len(delivery.payload)
            probes += delivery.topic == self._probe_topic
        self.held += len(deliveries)
        self._ledger.receive(len(deliveries) - probes)
        self._arrival.set()
        if self.held >= self._window or self.held_bytes >= self._window_bytes:
            self._paused = connection
            connection.pause()

    async def next_batch(self) -> list[Work]:
        """Waits until a batch is due by size, weight or age."""
        while True:
            wait = self._batcher.wait(time.monotonic())
            if wait == 0.0:
                return self._batcher.take(time.monotonic())
            self._arrival.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._arrival.wait()
            except TimeoutError:
                continue

    def rest(self) -> list[Work]:
        """What still waits, for the last batches before the end."""
        return self._batcher.take(time.monotonic())

    def release(self, works: Sequence[Work]) -> None:
        """These are kept elsewhere now; below half the bound the socket is read again."""
        self.held -= len(works)
        self.held_bytes -= sum(len(work.message.payload) for work in works)
        if self._paused and self.held * 2 < self._window and self.held_bytes * 2 < self._window_bytes:
            self._paused.resume()
            self._paused = None
