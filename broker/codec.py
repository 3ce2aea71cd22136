"""The part of MQTT 3.1.1 and 5 that ingest speaks, as pure functions and one incremental parser.

Ingest has its own codec because a client library's cost a message decides how many messages a machine
takes: `docs/decisions/0005-own-subscriber.md` has the measurement. Sections named are those of the OASIS
standards; the tests compare every packet with paho's own encoding and decoding.
"""

import struct
from collections.abc import Iterable, Sequence

import msgspec

V311 = 4
V5 = 5

CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 9, 11, 13, 14

PINGREQ = b"\xc0\x00"
MAX_REMAINING = 268_435_455  # 2.2.3: four bytes of seven bits

_u16 = struct.Struct(">H").pack
_u32 = struct.Struct(">I").pack


class ProtocolError(Exception):
    """The broker sent what the protocol does not allow, or what we never ask for."""


class Delivery(msgspec.Struct, gc=False):
    """A PUBLISH that arrived. `packet_id` is 0 at QoS 0, which wants no ack."""

    topic: str
    payload: bytes
    packet_id: int
    dup: bool
    retain: bool


class Reply(msgspec.Struct, frozen=True):
    """Any other packet: its type, its reason codes, and of a CONNACK whether the session was kept."""

    kind: int
    codes: bytes = b""
    session_present: bool = False


def connect(
    version: int,
    client_id: str,
    username: str,
    password: str,
    keepalive_s: int,
    session_expiry_s: int,
    receive_maximum: int,
) -> bytes:
    """CONNECT (3.1) that resumes a session; MQTT 3.1.1 knows neither its expiry nor a receive maximum."""
    flags = 0xC0  # user name, password; clean start off
    body = _text("MQTT") + bytes([version, flags]) + _u16(keepalive_s)
    if version == V5:
        properties = b"\x11" + _u32(session_expiry_s) + b"\x21" + _u16(receive_maximum)
        body += _varint(len(properties)) + properties
    return _packet(0x10, body + _text(client_id) + _text(username) + _text(password))


def subscribe(version: int, packet_id: int, filters: Sequence[str]) -> bytes:
    """SUBSCRIBE (3.8) at QoS 1; in MQTT 5 retained messages come only where the subscription is new."""
    options = 0x11 if version == V5 else 0x01
    body = _u16(packet_id) + (b"\x00" if version == V5 else b"")
    for topic_filter in filters:
        body += _text(topic_filter) + bytes([options])
    return _packet(0x82, body)


def unsubscribe(version: int, packet_id: int, filters: Sequence[str]) -> bytes:
    """UNSUBSCRIBE (3.10)."""
    body = _u16(packet_id) + (b"\x00" if version == V5 else b"")
    return _packet(0xA2, body + b"".join(_text(topic_filter) for topic_filter in filters))


def publish(version: int, topic: str, payload: bytes, packet_id: int, retain: bool = False) -> bytes:
    """PUBLISH (3.3) at QoS 1."""
    properties = b"\x00" if version == V5 else b""
    return _packet(0x32 | retain, _text(topic) + _u16(packet_id) + properties + payload)


def pubacks(packet_ids: Iterable[int]) -> bytes:
    """One PUBACK (3.4) for each id, in the order given; in MQTT 5 this short form means success."""
    return b"".join([b"\x40\x02" + _u16(packet_id) for packet_id in packet_ids])


def disconnect(version: int) -> bytes:
    """DISCONNECT (3.14), normal."""
    return b"\xe0\x00" if version == V311 else b"\xe0\x01\x00"


class Parser:
    """`feed` it what the socket brings, in any slices; it gives the packets that are whole."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._rest = b""

    def feed(self, data: bytes) -> list[Delivery | Reply]:
        """Raises `ProtocolError`; the connection is then of no more use."""
        buffer = self._rest + data if self._rest else data
        packets: list[Delivery | Reply] = []
        start, end = 0, len(buffer)
        while end - start >= 2:
            length, body = buffer[start + 1], start + 2
            if length & 0x80:
                long = _long_length(buffer, start + 1, end)
                if long is None:
                    break
                length, body = long
            if body + length > end:
                break
            packets.append(self._packet(buffer[start], buffer[body : body + length]))
            start = body + length
        self._rest = buffer[start:]
        return packets

    def _packet(self, head: int, body: bytes) -> Delivery | Reply:
        try:
            return self._publish(head, body) if head >> 4 == PUBLISH else self._reply(head >> 4, body)
        except (IndexError, UnicodeDecodeError) as error:
            raise ProtocolError(f"packet of type {head >> 4} and {len(body)} bytes: {error}") from error

    def _publish(self, head: int, body: bytes) -> Delivery:
        if head & 0x04:
            raise ProtocolError("PUBLISH has a QoS above the 1 that we subscribe with")
        topic_end = 2 + (body[0] << 8 | body[1])
        payload, packet_id = topic_end, 0
        if head & 0x02:
            packet_id = body[payload] << 8 | body[payload + 1]
            payload += 2
            if not packet_id:  # [MQTT-2.2.1-3]; it could not be acked
                raise ProtocolError("PUBLISH at QoS 1 has no packet id")
        if self._version == V5:
            payload = _after_properties(body, payload)
        if payload > len(body):
            raise ProtocolError("PUBLISH ends within its header")
        return Delivery(body[2:topic_end].decode(), body[payload:], packet_id, bool(head & 8), bool(head & 1))

    def _reply(self, kind: int, body: bytes) -> Reply:
        if kind == CONNACK:
            return Reply(kind, bytes([body[1]]), bool(body[0] & 1))
        if kind == SUBACK:
            return Reply(kind, body[2:] if self._version == V311 else body[_after_properties(body, 2) :])
        if kind == DISCONNECT:
            return Reply(kind, body[:1] or b"\x00")
        if kind in (PUBACK, UNSUBACK, PINGRESP):
            return Reply(kind, body[2:3])
        raise ProtocolError(f"a packet of type {kind} has no place here")


def _after_properties(body: bytes, at: int) -> int:
    """Where the properties (2.2.2) that begin at `at` end; what they say is of no use to us."""
    if body[at] < 0x80:
        return at + 1 + body[at]
    long = _long_length(body, at, len(body))
    if long is None:
        raise ProtocolError("a packet ends within its properties")
    return long[0] + long[1]


def _long_length(buffer: bytes, at: int, end: int) -> tuple[int, int] | None:
    """The variable byte integer (1.5.5) at `at` and where it ends; None: it is not all there yet."""
    value = 0
    for shift in range(4):
        if at + shift >= end:
            return None
        byte = buffer[at + shift]
        value |= (byte & 0x7F) << (7 * shift)
        if not byte & 0x80:
            return value, at + shift + 1
    raise ProtocolError("a length of more than four bytes")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _text(text: str) -> bytes:
    raw = text.encode()
    return _u16(len(raw)) + raw


def _packet(head: int, body: bytes) -> bytes:
    if len(body) > MAX_REMAINING:
        raise ProtocolError(f"a packet of {len(body)} bytes; the limit is {MAX_REMAINING}")
    return bytes([head]) + _varint(len(body)) + body
