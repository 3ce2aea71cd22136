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

# What the broker delivers again was first delivered on an earlier connection, and not acked when that broke.
# No message waits for its ack for so long.
UNACKED_S = 600.0
BATCH_BYTES = 2 * 2**20  # payload; a reading takes about ten times its JSON while it is worked on


class Intake:
    """`window` in messages, `window_bytes` of payload: held from arrival to `release`.

    `session`: a number for the broker's session that it takes from; each session has packet ids of its own.
    `last_alive`: when an earlier run on this session was last known to be at work, in seconds since 1970.
    """

    def __init__(
        self,
        ledger: Ledger,
        probe_topic: str,
        window: int,
        window_bytes: int,
        batch_size: int,
        batch_age_s: float,
        session: int = 0,
        last_alive: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._probe_topic = probe_topic
        self._window = window
        self._window_bytes = window_bytes
        self._batcher: Batcher[Work] = Batcher(batch_size, BATCH_BYTES, batch_age_s)
        self._session = session << 16
        self._clock = clock
        self._connection: Connection | None = None
        self._last_alive = last_alive
        self._since = 1
        self._arrival = asyncio.Event()
        self._paused: Connection | None = None
        self._closed = False
        # No packet id stands for a message at QoS 0: below zero, and apart from those of earlier runs.
        self._unnumbered = itertools.count(-time.time_ns(), -1)
        self.held = 0
        self.held_bytes = 0

    def on_deliveries(self, connection: Connection, deliveries: Sequence[Delivery]) -> None:
        """Called by the connection with what one read of the socket brought."""
        if self._closed:
            return  # unacked, so the broker keeps it
        received, now = int(self._clock() * 1000), time.monotonic()
        if connection is not self._connection:
            self._connection = connection
            self._since = max(1, int((self._last_alive - UNACKED_S) * 1000))
        self._last_alive = received / 1000
        probes = 0
        for delivery in deliveries:
            packet_id = delivery.packet_id
            identity = self._session | packet_id if packet_id else next(self._unnumbered)
            since = self._since if delivery.dup else 0
            message = Message(delivery.topic, delivery.payload, received, identity, since, delivery.retain)
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

    def close(self) -> None:
        """Takes nothing more; what is held stays to be kept."""
        self._closed = True

    def release(self, works: Sequence[Work]) -> None:
        """These are kept elsewhere now; below half the bound the socket is read again."""
        self.held -= len(works)
        self.held_bytes -= sum(len(work.message.payload) for work in works)
        if self._paused and self.held * 2 < self._window and self.held_bytes * 2 < self._window_bytes:
            self._paused.resume()
            self._paused = None
