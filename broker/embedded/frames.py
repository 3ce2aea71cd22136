"""amqtt's MQTT 3.1.1 packets, read one whole packet at a time.

amqtt's codecs read from the socket as they parse, so a wrong length inside a packet makes them read into the
next one. Here a packet's bytes are read first, and a codec sees nothing else.
"""

import struct
from typing import Any

from amqtt.adapters import BufferReader
from amqtt.errors import AMQTTError, CodecError, MQTTError, NoDataError
from amqtt.mqtt import ConnectPacket, PublishPacket, packet_class
from amqtt.mqtt.packet import CONNECT, MQTTFixedHeader

from broker.embedded.redelivery import Delivery, Message
from broker.embedded.subscriptions import is_topic
from broker.embedded.wire import Wire

MAX_PACKET = 2**20  # bytes

_UNREADABLE = (AMQTTError, MQTTError, CodecError, NoDataError, struct.error, ValueError, IndexError)


class Malformed(Exception):
    """A packet that MQTT 3.1.1 does not allow, or larger than `MAX_PACKET`: its sender is cut."""


async def read_connect(wire: Wire) -> ConnectPacket:
    """A connection's first packet; raises as `read_packet` does."""
    header = await _header(wire)
    if header.packet_type != CONNECT:  # [MQTT-3.1.0-1]; the body of anything else is not worth waiting for
        raise Malformed(f"the first packet is of type {header.packet_type}, not CONNECT")
    connect, _ = await _parse(wire, header)  # MQTT 5's carries more, and is told so by CONNACK
    if connect.proto_name != "MQTT" or connect.reserved_flag:
        raise Malformed(f"CONNECT to protocol {connect.proto_name!r}")
    return connect


async def read_packet(wire: Wire) -> Any:
    """Raises `Malformed`; ConnectionError or asyncio.IncompleteReadError where the connection ended."""
    packet, rest = await _parse(wire, await _header(wire))
    if rest:
        raise Malformed(f"{type(packet).__name__} with {len(rest)} bytes too many")
    return packet


async def _header(wire: Wire) -> MQTTFixedHeader:
    try:
        header = await MQTTFixedHeader.from_stream(wire)
    except MQTTError as error:
        raise Malformed(str(error)) from error
    if header is None:
        raise ConnectionAbortedError("closed by the client without DISCONNECT")
    if header.remaining_length > MAX_PACKET:
        raise Malformed(f"a packet of {header.remaining_length} bytes, the limit is {MAX_PACKET}")
    return header


async def _parse(wire: Wire, header: MQTTFixedHeader) -> tuple[Any, bytes]:
    """The packet, and what its codec left unread."""
    body = BufferReader(await wire.read(header.remaining_length))
    try:
        return await packet_class(header).from_stream(body, fixed_header=header), await body.read()
    except _UNREADABLE as error:
        raise Malformed(f"packet of type {header.packet_type}: {error!r}") from error


def message_of(packet: PublishPacket) -> Message:
    """Raises `Malformed`."""
    topic, qos = packet.topic_name, packet.qos
    if not is_topic(topic) or qos > 2 or (qos and not packet.packet_id):
        raise Malformed(f"PUBLISH to {topic!r} with QoS {qos} and packet id {packet.packet_id}")
    return Message(topic, packet.data, qos, packet.retain_flag)


def will_of(connect: ConnectPacket) -> Message | None:
    """Raises `Malformed`."""
    if not connect.will_flag:
        return None
    topic, payload = connect.will_topic or "", bytes(connect.will_message or b"")
    if not is_topic(topic) or connect.will_qos > 2:
        raise Malformed(f"a will on {topic!r} with QoS {connect.will_qos}")
    return Message(topic, payload, connect.will_qos, connect.will_retain_flag)


def encode(delivery: Delivery) -> bytes:
    message = delivery.message
    packet = PublishPacket.build(
        message.topic, message.payload, delivery.packet_id, delivery.dup, message.qos, message.retain
    )
    return bytes(packet.to_bytes())
