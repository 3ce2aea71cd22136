"""One client's connection to the embedded broker: packets in, packets out, from CONNECT to the will.

The packets are amqtt's; the conversation is ours, because amqtt 0.12.1 lets a session be taken over before
the password is looked at, never enforces the keep-alive, drops the last packets of a client that leaves, and
reads on at a wrong offset after a malformed packet. References are to MQTT 3.1.1 (OASIS, 2014).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from amqtt.mqtt import (
    ConnackPacket,
    ConnectPacket,
    DisconnectPacket,
    PingReqPacket,
    PingRespPacket,
    PubackPacket,
    PubcompPacket,
    PublishPacket,
    PubrecPacket,
    PubrelPacket,
    SubackPacket,
    SubscribePacket,
    UnsubackPacket,
    UnsubscribePacket,
)
from amqtt.mqtt.connack import (
    BAD_USERNAME_PASSWORD,
    CONNECTION_ACCEPTED,
    IDENTIFIER_REJECTED,
    SERVER_UNAVAILABLE,
    UNACCEPTABLE_PROTOCOL_VERSION,
)

from broker.embedded.frames import Malformed, encode, message_of, read_connect, read_packet, will_of
from broker.embedded.gate import EXPEL_TOPIC
from broker.embedded.hub import REFUSED, Hub, QueueFull, Session
from broker.embedded.redelivery import Message
from broker.embedded.wire import Wire
from core.access import CONTROL

log = structlog.get_logger()

Authenticator = Callable[[str, str], Awaitable[bool]]  # (username, password) -> may connect
Expel = Callable[[str], None]

CONNECT_S = 10.0
GRACE = 1.5  # of the keep-alive, section 3.1.2.10
PROTOCOL_LEVEL = 4


class Link:
    """`run` once; `cut` and `leave` may be called at any time, from any task."""

    def __init__(self, wire: Wire, hub: Hub, authenticate: Authenticator, expel: Expel) -> None:
        self._wire = wire
        self._hub = hub
        self._authenticate = authenticate
        self._expel = expel
        self._will: Message | None = None
        self._turn = asyncio.Lock()  # the reader and the deliverer take turns at the wire
        self._gone = asyncio.Event()
        self._cut: str | None = None
        self.username = ""

    async def run(self) -> None:
        try:
            connect = await self._greet()
            if connect is not None:
                await self._attend(connect)
        except (Malformed, QueueFull, ConnectionError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.cut(repr(error))
        finally:
            self._gone.set()
            log.debug("client_gone", username=self.username, reason=self._cut)
            await self._wire.close()

    def cut(self, reason: str, with_will: bool = True) -> None:
        self._cut = self._cut or reason
        if not with_will:
            self._will = None
        self._wire.abort()

    async def leave(self, reason: str, with_will: bool = True) -> None:
        self.cut(reason, with_will)
        await self._gone.wait()

    async def _greet(self) -> ConnectPacket | None:
        """The CONNECT of a client that may come in, or None for one that was told why not."""
        async with asyncio.timeout(CONNECT_S):
            connect = await read_connect(self._wire)
        verdict = await self._judge(connect)
        if verdict == CONNECTION_ACCEPTED:
            return connect
        log.info("client_refused", username=self.username, client=connect.client_id, code=verdict)
        await self._send(ConnackPacket.build(0, verdict))
        return None

    async def _judge(self, connect: ConnectPacket) -> int:
        if connect.proto_level != PROTOCOL_LEVEL:
            return int(UNACCEPTABLE_PROTOCOL_VERSION)
        if connect.payload.client_id_is_random and not connect.clean_session_flag:
            return int(IDENTIFIER_REJECTED)  # [MQTT-3.1.3-8]
        if not connect.username:
            return int(BAD_USERNAME_PASSWORD)
        self.username = connect.username
        try:
            is_welcome = await self._authenticate(self.username, connect.password or "")
        except Exception as error:  # whatever the source of truth raises: the client may try again
            log.error("authentication_unavailable", username=self.username, error=repr(error))
            return int(SERVER_UNAVAILABLE)
        return int(CONNECTION_ACCEPTED if is_welcome else BAD_USERNAME_PASSWORD)

    async def _attend(self, connect: ConnectPacket) -> None:
        will = will_of(connect)
        while (found := self._hub.find(self.username, connect.client_id)) and found.connection:
            await found.connection.leave("taken over")  # [MQTT-3.1.4-2]
        if self._cut:  # expelled while the authenticator was asked
            return
        session, was_there = self._hub.open(self.username, connect.client_id, connect.clean_session_flag)
        session.connection, self._will = self, will
        try:
            await self._send(ConnackPacket.build(int(was_there), CONNECTION_ACCEPTED))
            await self._converse(session, connect.keep_alive * GRACE)
        finally:
            session.connection = None
            self._publish_will()
            if connect.clean_session_flag:
                self._hub.forget(session)

    async def _converse(self, session: Session, silence_s: float) -> None:
        tasks = [asyncio.create_task(self._deliver(session), name=f"deliver-{session.client_id}")]
        if silence_s:
            tasks.append(asyncio.create_task(self._watch(silence_s), name=f"watch-{session.client_id}"))
        try:
            while not isinstance(packet := await read_packet(self._wire), DisconnectPacket):
                await self._handle(packet, session)
            self._will = None  # [MQTT-3.14.4-3]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver(self, session: Session) -> None:
        try:
            while True:
                deliveries = await session.outbox.take()
                await self._send_bytes(b"".join(map(encode, deliveries)))
        except ConnectionError as error:
            self.cut(repr(error))
        except Exception as error:  # a client that gets no more deliveries must not look connected
            log.exception("delivery_failed", username=self.username)
            self.cut(repr(error))

    async def _watch(self, silence_s: float) -> None:
        now = asyncio.get_running_loop().time
        while True:
            left = self._wire.heard + silence_s - now()
            if left <= 0:
                return self.cut("keep-alive")
            await asyncio.sleep(left)

    def _publish_will(self) -> None:
        if self._will is None:
            return
        try:
            self._hub.publish(self.username, self._will)
        except QueueFull as error:
            log.warning("will_lost", username=self.username, error=str(error))

    async def _handle(self, packet: Any, session: Session) -> None:
        match packet:
            case PublishPacket():
                await self._publish(packet, session)
            case PubackPacket():
                session.outbox.settle(packet.packet_id)
            case PubrelPacket():
                session.received.discard(packet.packet_id)
                await self._send(PubcompPacket.build(packet.packet_id))
            case SubscribePacket():
                await self._subscribe(packet, session)
            case UnsubscribePacket():
                for topic_filter in packet.payload.topics:
                    self._hub.unsubscribe(session, topic_filter)
                await self._send(UnsubackPacket.build(packet.variable_header.packet_id))
            case PingReqPacket():
                await self._send(PingRespPacket.build())
            case _:
                raise Malformed(f"a client does not send {type(packet).__name__} here")

    async def _publish(self, packet: PublishPacket, session: Session) -> None:
        message = message_of(packet)
        if message.topic == EXPEL_TOPIC and self.username == CONTROL:
            self._expel(message.payload.decode(errors="replace"))
        elif packet.qos < 2 or packet.packet_id not in session.received:
            self._hub.publish(self.username, message)
        if packet.qos == 1:
            await self._send(PubackPacket.build(packet.packet_id))
        elif packet.qos == 2:
            session.received.add(packet.packet_id)
            await self._send(PubrecPacket.build(packet.packet_id))

    async def _subscribe(self, packet: SubscribePacket, session: Session) -> None:
        asked = packet.payload.topics
        if not asked or any(qos > 2 for _, qos in asked):
            raise Malformed("SUBSCRIBE without a topic filter, or with a QoS above 2")  # [MQTT-3.8.3-3]
        codes = [self._hub.subscribe(session, topic_filter, qos) for topic_filter, qos in asked]
        await self._send(SubackPacket.build(packet.variable_header.packet_id, codes))
        for (topic_filter, _), code in zip(asked, codes, strict=True):
            if code != REFUSED:
                self._hub.replay_retained(session, topic_filter, code)

    async def _send(self, packet: Any) -> None:
        await self._send_bytes(packet.to_bytes())

    async def _send_bytes(self, data: bytes) -> None:
        async with self._turn:
            await self._wire.send(data)
