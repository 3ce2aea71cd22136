"""Our MQTT packets against paho's, byte for byte, and a parser that takes them in any slices."""

import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker import codec
from broker.codec import V5, V311, Delivery, Parser, ProtocolError, Reply

VERSIONS = st.sampled_from([V311, V5])
both_versions = pytest.mark.parametrize("version", [V311, V5])

U16 = st.integers(1, 65_535)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
TOPICS = TEXTS.map(lambda text: text.replace("+", "-").replace("#", "-"))


class Recorder(paho.Client):
    """paho's client without a socket: what it would send is kept."""

    def __init__(self, version: int, client_id: str = "") -> None:
        session = {} if version == V5 else {"clean_session": False}
        super().__init__(paho.CallbackAPIVersion.VERSION2, client_id or "x", protocol=version, **session)
        self._clean_start = False
        self._sock = SimpleNamespace(close=lambda: None)
        self.sent = b""

    def _packet_queue(self, command: int, packet: Any, mid: int, qos: int, info: Any = None) -> Any:
        self.sent += bytes(packet)
        return paho.MQTT_ERR_SUCCESS

    def _sock_close(self) -> None:
        """There is none."""


def paho_publish(
    version: int, delivery: Delivery, qos: int = 1, properties: Properties | None = None
) -> bytes:
    client = Recorder(version)
    client._send_publish(
        delivery.packet_id,
        delivery.topic.encode(),
        delivery.payload,
        qos,
        delivery.retain,
        delivery.dup,
        properties=properties,
    )
    return client.sent


# -- what we send -----------------------------------------------------------------------------------------


@given(VERSIONS, TEXTS, TEXTS, TEXTS, st.integers(0, 65_535), st.integers(0, 2**32 - 1), U16)
def test_connect(
    version: int, client_id: str, user: str, password: str, keepalive: int, expiry: int, maximum: int
) -> None:
    client = Recorder(version, client_id)
    client.username_pw_set(user, password)
    if version == V5:
        client._connect_properties = Properties(PacketTypes.CONNECT)
        client._connect_properties.SessionExpiryInterval = expiry
        client._connect_properties.ReceiveMaximum = maximum
    client._send_connect(keepalive)
    assert codec.connect(version, client_id, user, password, keepalive, expiry, maximum) == client.sent


@given(VERSIONS, U16, st.lists(TEXTS, min_size=1, max_size=9))
def test_subscribe(version: int, packet_id: int, filters: list[str]) -> None:
    client = Recorder(version)
    client._last_mid = packet_id - 1
    options = SubscribeOptions(qos=1, retainHandling=1) if version == V5 else 1
    client._send_subscribe(False, [(asked.encode(), options) for asked in filters])
    assert codec.subscribe(version, packet_id, filters) == client.sent


@given(VERSIONS, TOPICS, st.binary(max_size=300), U16, st.booleans())
def test_publish(version: int, topic: str, payload: bytes, packet_id: int, retain: bool) -> None:
    expected = paho_publish(version, Delivery(topic, payload, packet_id, dup=False, retain=retain))
    assert codec.publish(version, topic, payload, packet_id, retain) == expected


@given(VERSIONS, st.lists(U16, max_size=20))
def test_pubacks(version: int, packet_ids: list[int]) -> None:
    client = Recorder(version)
    for packet_id in packet_ids:
        client._send_puback(packet_id)
    assert codec.pubacks(packet_ids) == client.sent


def test_pingreq() -> None:
    client = Recorder(V5)
    client._send_pingreq()
    assert client.sent == codec.PINGREQ


def test_disconnect() -> None:
    client = Recorder(V311)
    client._send_disconnect()
    assert codec.disconnect(V311) == client.sent
    assert codec.disconnect(V5) == b"\xe0\x01\x00"  # 3.14.2.1: normal; paho leaves out a reason of zero


@both_versions
@pytest.mark.parametrize("size", [127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_lengths_at_the_edges_of_the_variable_byte_integer(version: int, size: int) -> None:
    overhead = 5 if version == V311 else 6
    delivery = Delivery("t", bytes(size - overhead), 7, dup=False, retain=False)
    packet = codec.publish(version, delivery.topic, delivery.payload, 7)
    assert packet == paho_publish(version, delivery)
    assert Parser(version).feed(packet) == [delivery]


def test_a_packet_beyond_the_protocols_limit_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="the limit is 268435455"):
        codec.publish(V311, "t", bytes(codec.MAX_REMAINING), 1)


# -- what we read -----------------------------------------------------------------------------------------


@st.composite
def publish_properties(draw: st.DrawFn) -> Properties | None:
    if draw(st.booleans()):
        return None
    properties = Properties(PacketTypes.PUBLISH)
    if draw(st.booleans()):
        properties.PayloadFormatIndicator = 1
        properties.MessageExpiryInterval = draw(st.integers(0, 2**32 - 1))
    if draw(st.booleans()):
        properties.ResponseTopic, properties.CorrelationData = draw(TOPICS), draw(st.binary(max_size=200))
    properties.UserProperty = draw(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3))
    return properties


@st.composite
def publishes(draw: st.DrawFn, version: int) -> tuple[bytes, Delivery]:
    qos = draw(st.integers(0, 1))
    delivery = Delivery(
        draw(TOPICS),
        draw(st.binary(max_size=200)),
        draw(U16) if qos else 0,
        dup=bool(qos) and draw(st.booleans()),
        retain=draw(st.booleans()),
    )
    properties = draw(publish_properties()) if version == V5 else None
    return paho_publish(version, delivery, qos, properties), delivery


@st.composite
def replies(draw: st.DrawFn, version: int) -> tuple[bytes, Reply]:
    """Written from the tables of section 3: paho, a client, sends none of these."""
    codes = draw(st.binary(min_size=1, max_size=4))
    text = draw(TEXTS).encode()
    reason = b"\x1f" + struct.pack(">H", len(text)) + text  # Reason String, 2.2.2.2
    properties = draw(st.sampled_from([b"\x00", bytes([len(reason)]) + reason])) if version == V5 else b""
    packet_id = struct.pack(">H", draw(U16))
    known = [
        (b"\x20", draw(st.sampled_from([b"\0", b"\1"])) + codes[:1] + properties, codec.CONNACK),
        (b"\x90", packet_id + properties + codes, codec.SUBACK),
        (b"\x40", packet_id, codec.PUBACK),
        (b"\xd0", b"", codec.PINGRESP),
    ]
    if version == V5:
        known += [(b"\xe0", codes[:1] + properties, codec.DISCONNECT), (b"\xe0", b"", codec.DISCONNECT)]
    head, body, kind = draw(st.sampled_from(known))
    told = {codec.CONNACK: codes[:1], codec.SUBACK: codes, codec.DISCONNECT: body[:1] or b"\0"}
    has_session = kind == codec.CONNACK and body[0] == 1
    return head + bytes([len(body)]) + body, Reply(kind, told.get(kind, b""), has_session)


@st.composite
def streams(draw: st.DrawFn) -> tuple[int, bytes, list[Delivery | Reply]]:
    version = draw(VERSIONS)
    packets = draw(st.lists(publishes(version) | replies(version), max_size=5))
    return version, b"".join(raw for raw, _ in packets), [packet for _, packet in packets]


@given(streams(), st.data())
def test_a_stream_in_any_slices_gives_the_packets_that_it_holds(
    stream: tuple[int, bytes, list[Delivery | Reply]], data: st.DataObject
) -> None:
    version, raw, packets = stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    assert Parser(version).feed(raw) == packets
    assert list(_fed(version, _sliced(raw, cuts))) == packets
    assert list(_fed(version, (raw[at : at + 1] for at in range(len(raw))))) == packets


def _fed(version: int, slices: Iterable[bytes]) -> Iterable[Delivery | Reply]:
    parser = Parser(version)
    for piece in slices:
        yield from parser.feed(piece)


def _sliced(raw: bytes, cuts: Sequence[int]) -> Iterable[bytes]:
    edges = [0, *cuts, len(raw)]
    return (raw[start:end] for start, end in pairwise(edges))


def test_long_properties_have_a_long_length() -> None:
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("k", "v" * 20_000)]
    delivery = Delivery("t", b"payload", 7, dup=True, retain=True)
    assert Parser(V5).feed(paho_publish(V5, delivery, properties=properties)) == [delivery]


def test_a_packet_is_given_when_its_last_byte_is_there() -> None:
    packet = codec.publish(V5, "t", b"x", 7)
    parser = Parser(V5)
    assert parser.feed(packet[:-1]) == []
    assert parser.feed(packet[-1:] + packet) == [Delivery("t", b"x", 7, dup=False, retain=False)] * 2


# -- what is malformed ------------------------------------------------------------------------------------


def assert_parsed_or_refused(version: int, raw: bytes) -> None:
    with suppress(ProtocolError):
        assert all(type(packet) in (Delivery, Reply) for packet in Parser(version).feed(raw))


@given(VERSIONS, st.binary(max_size=60))
@example(V5, b"\x30\x03\x00\x01t")
@example(V5, b"\x90\x02\x00\x01")
def test_any_bytes_give_packets_or_a_protocol_error(version: int, raw: bytes) -> None:
    assert_parsed_or_refused(version, raw)


@given(streams(), st.data())
def test_so_do_damaged_packets(
    stream: tuple[int, bytes, list[Delivery | Reply]], data: st.DataObject
) -> None:
    version, raw, _ = stream
    damaged = bytearray(raw)
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)) if raw else []:
        damaged[at] = data.draw(st.integers(0, 255))
    assert_parsed_or_refused(version, bytes(damaged))


@pytest.mark.parametrize(
    ("version", "raw", "told"),
    [
        (V311, "34 05 00 01 74 00 07", "QoS above the 1"),
        (V311, "36 05 00 01 74 00 07", "QoS above the 1"),
        (V311, "32 05 00 01 74 00 00", "no packet id"),
        (V311, "32 04 00 01 74 00", "type 3 and 4 bytes"),
        (V311, "30 03 00 05 74", "ends within its header"),
        (V311, "30 01 00", "type 3 and 1 bytes"),
        (V311, "30 03 00 01 ff", "can't decode"),
        (V5, "30 03 00 01 74", "type 3 and 3 bytes"),
        (V5, "30 04 00 01 74 05", "ends within its header"),
        (V5, "30 05 00 01 74 ff ff", "ends within its properties"),
        (V5, "30 08 00 01 74 ff ff ff ff 01", "more than four bytes"),
        (V5, "90 03 00 01 80", "ends within its properties"),
        (V311, "30 ff ff ff ff 01", "more than four bytes"),
        (V311, "20 01 00", "type 2 and 1 bytes"),
        *((V5, f"{kind:x}0 02 00 01", "has no place here") for kind in (0, 1, 5, 6, 7, 8, 10, 12, 15)),
    ],
)
def test_what_the_protocol_does_not_allow(version: int, raw: str, told: str) -> None:
    with pytest.raises(ProtocolError, match=told):
        Parser(version).feed(bytes.fromhex(raw))
