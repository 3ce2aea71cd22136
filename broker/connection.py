"""One connection to the broker, from CONNECT to its loss; an ack belongs to the one that brought it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from broker import codec
from broker.codec import Delivery, Parser, ProtocolError, Reply
from broker.login import BrokerAway, Login
from core.silence import SESSION_S

OnDeliveries = Callable[["Connection", list[Delivery]], None]

_GRACE = 1.5  # the part of a keep-alive after which silence is loss (3.1.2.10)


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a subscriber wants. `session_expiry_s` and `receive_maximum` are of MQTT 5.

    `dropped`: filters that the kept session may still hold from an earlier run with other settings.
    """

    client_id: str
    filters: Sequence[str]
    dropped: Sequence[str] = ()
    keepalive_s: int = 30
    session_expiry_s: int = SESSION_S
    receive_maximum: int = 20_000


class Connection(asyncio.Protocol):
    """Acks and publishes on a lost connection go nowhere: the broker sends unacked messages again."""

    def __init__(self, login: Login, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        self._login = login
        self._subscription = subscription
        self._on_deliveries = on_deliveries
        self._version = codec.V5 if login.version == "5" else codec.V311
        self._parser = Parser(self._version)
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._transport: asyncio.Transport | None = None
        self._heard = loop.time()
        self._next_id = 0
        self._paused = False
        self._session_present = False
        self.ready: asyncio.Future[bool] = loop.create_future()  # the broker kept our session
        self.lost: asyncio.Future[str] = loop.create_future()  # why

    # -- what the owner calls ---------------------------------------------------------------------------

    def ack(self, packet_ids: Iterable[int]) -> None:
        """Call in the order of arrival (4.6); only after the commit."""
        if self._transport is not None:
            self._transport.write(codec.pubacks(packet_ids))

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> bool:
        """At QoS 1, not repeated after a loss of the connection; False where it is lost already."""
        if self._transport is None:
            return False
        packet = codec.publish(self._version, topic, payload, self._new_id(), retain)
        self._transport.write(packet)
        return True

    def pause(self) -> None:
        """Stops reading the socket; the connection is kept alive meanwhile."""
        if self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and self._paused:
            self._paused = False
            self._heard = self._now()
            self._transport.resume_reading()

    def close(self) -> None:
        """Says goodbye; the broker keeps the session and publishes no will."""
        if self._transport is not None:
            self._transport.write(codec.disconnect(self._version))
            self._transport.close()

    async def keep_alive(self) -> None:
        """Runs until the connection is lost; gives up a broker that no longer answers."""
        interval = self._subscription.keepalive_s / 2
        while not self.lost.done():
            await asyncio.wait([self.lost], timeout=interval)
            if self._transport is None:
                return
            if not self._paused and self._now() - self._heard > self._subscription.keepalive_s * _GRACE:
                self._fail("no answer within the keep-alive")
                return
            self._transport.write(codec.PINGREQ)

    # -- what the event loop calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an isinstance check: uvloop's transports derive from no class of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        wanted = self._subscription
        self._transport.write(
            codec.connect(
                self._version,
                wanted.client_id,
                self._login.username,
                self._login.password,
                wanted.keepalive_s,
                wanted.session_expiry_s,
                wanted.receive_maximum,
            )
        )

    def data_received(self, data: bytes) -> None:
        self._heard = self._now()
        try:
            arrived = self._parser.feed(data)
            deliveries = [packet for packet in arrived if type(packet) is Delivery]
            for packet in arrived:
                if type(packet) is Reply:
                    self._on_reply(packet)
        except ProtocolError as error:
            self._fail(f"protocol error: {error}")
            return
        if deliveries:
            self._on_deliveries(self, deliveries)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(str(exc or "closed by the broker"))

    # -- inside -----------------------------------------------------------------------------------------

    def _on_reply(self, reply: Reply) -> None:
        if reply.kind == codec.CONNACK:
            if reply.codes != b"\x00":
                raise ProtocolError(f"connection refused with code {reply.codes.hex()}")
            self._session_present = reply.session_present
            request = codec.subscribe(self._version, self._new_id(), self._subscription.filters)
            if self._transport is not None:
                self._transport.write(request)
        elif reply.kind == codec.SUBACK:
            refused = [
                f for f, code in zip(self._subscription.filters, reply.codes, strict=False) if code > 2
            ]
            if refused:
                raise ProtocolError(f"subscription refused: {', '.join(refused)}")
            if self._subscription.dropped and self._transport is not None:
                dropped = codec.unsubscribe(self._version, self._new_id(), self._subscription.dropped)
                self._transport.write(dropped)
            if not self.ready.done():
                self.ready.set_result(self._session_present)
        elif reply.kind == codec.DISCONNECT:
            raise ProtocolError(f"the broker disconnects us with code {reply.codes.hex()}")

    def _new_id(self) -> int:
        self._next_id = self._next_id % 65_535 + 1
        return self._next_id

    def _fail(self, reason: str) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        if not self.ready.done():
            self.ready.set_exception(BrokerAway(reason))
            self.ready.exception()  # whoever waits gets it; nobody may be waiting
        if not self.lost.done():
            self.lost.set_result(reason)
