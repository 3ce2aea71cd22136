"""What one session is owed: messages waiting, and messages sent whose PUBACK is not back yet.

amqtt 0.12.1 loses messages here: `ProtocolHandler._handle_qos1_message_flow` waits 5 s for a PUBACK and then
forgets the delivery; its `finally: inflight_out.pop(...)` forgets every open one when the connection ends;
beyond 65,535 open deliveries it drops the rest for want of a packet id. An `Outbox` belongs to the session,
not to the connection; nothing leaves it but by its PUBACK, and what does not fit the window waits.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

_OVERHEAD = 300  # bytes of Python objects that a queued message costs beside its topic and payload
_PACKET_IDS = 65_535


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool = False

    @property
    def size(self) -> int:
        return len(self.topic) + len(self.payload) + _OVERHEAD


@dataclass(frozen=True, slots=True)
class Delivery:
    """`packet_id` is None at QoS 0; `dup` is set when the same packet id was handed out before."""

    message: Message
    packet_id: int | None = None
    dup: bool = False


class Outbox:
    """Messages leave in the order they came; a redelivery comes first, with DUP and its old packet id.

    `limit`: bytes held, in flight or waiting, beyond which `put` refuses.
    `window`: QoS 1 messages in flight at once; a subscriber that commits in batches acks a batch at a time.
    """

    def __init__(self, limit: int, window: int) -> None:
        self._limit = limit
        self._window = window
        self._waiting: deque[Message] = deque()
        self._in_flight: dict[int, Message] = {}  # in the order sent
        self._again: deque[int] = deque()
        self._last_id = 0
        self._size = 0
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    def put(self, message: Message) -> bool:
        """False where the outbox is full: the message was not taken."""
        if self._size + message.size > self._limit:
            return False
        self._size += message.size
        self._waiting.append(message)
        self._changed.set()
        return True

    def settle(self, packet_id: int) -> None:
        """The subscriber's PUBACK; one for an unknown packet id changes nothing."""
        message = self._in_flight.pop(packet_id, None)
        if message is not None:
            self._size -= message.size
            self._changed.set()

    def reopen(self) -> None:
        """The session has a new connection: what is in flight goes out again."""
        self._again = deque(self._in_flight)
        self._changed.set()

    async def take(self, most: int = 200) -> list[Delivery]:
        """The next deliveries, at least one; for one caller at a time."""
        while not (ready := self._ready(most)):
            self._changed.clear()
            await self._changed.wait()
        return ready

    def _ready(self, most: int) -> list[Delivery]:
        ready: list[Delivery] = []
        while self._again and len(ready) < most:
            packet_id = self._again.popleft()
            if packet_id in self._in_flight:
                ready.append(Delivery(self._in_flight[packet_id], packet_id, dup=True))
        while self._waiting and len(ready) < most and len(self._in_flight) < self._window:
            ready.append(self._send(self._waiting.popleft()))
        return ready

    def _send(self, message: Message) -> Delivery:
        if message.qos == 0:
            self._size -= message.size
            return Delivery(message)
        self._last_id = self._last_id % _PACKET_IDS + 1
        while self._last_id in self._in_flight:
            self._last_id = self._last_id % _PACKET_IDS + 1
        self._in_flight[self._last_id] = message
        return Delivery(message, self._last_id)
