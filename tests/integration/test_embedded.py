"""The embedded broker over real sockets: paho as the client, raw bytes where paho is too polite."""

import asyncio
import itertools
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from websockets.asyncio.client import connect as ws_connect

from broker.embedded.frames import MAX_PACKET
from broker.embedded.gate import EXPEL_TOPIC, EmbeddedGate
from broker.embedded.hub import Limits
from broker.embedded.redelivery import Message, Outbox
from broker.embedded.server import EmbeddedBrokerError, Ports, serve
from broker.embedded.subscriptions import Subscriptions, is_filter, is_topic
from broker.gate import Gate, GateError
from broker.login import Login
from broker.publisher import Publisher
from core.access import CONTROL, SERVICE, may_publish, may_receive, may_subscribe

SECRETS = {SERVICE: "service", CONTROL: "control"}
REFUSED = 0x80
numbers = itertools.count()


class Authenticator:
    """A device's password is its user name backwards, until it is removed."""

    def __init__(self) -> None:
        self.removed: set[str] = set()
        self.is_away = False

    async def __call__(self, username: str, password: str) -> bool:
        await asyncio.sleep(0)
        if self.is_away:
            raise ConnectionError("no database")
        return username not in self.removed and password == secret(username)


def secret(username: str) -> str:
    return SECRETS.get(username, username[::-1])


def a_device() -> str:
    return f"acme/d{next(numbers)}"


async def until(condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)


class Client:
    """paho with its network thread; what it receives is in `got` as (topic, payload, retain, dup, mid)."""

    def __init__(self, username: str, client_id: str = "", ws: bool = False, **options: Any) -> None:
        self.username = username
        self.got: list[tuple[str, bytes, bool, bool, int]] = []
        self.acks: set[int] = set()
        self.grants: list[list[int]] = []
        self.code: int | None = None
        self.was_present: bool | None = None
        self.ended = threading.Event()
        options.setdefault("clean_session", True)
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id or f"{username}-{next(numbers)}",
            reconnect_on_failure=False,
            transport="websockets" if ws else "tcp",
            **options,
        )
        self.paho.max_inflight_messages_set(0)
        self.paho.username_pw_set(username, secret(username))
        self.paho.on_connect = self._connected
        self.paho.on_disconnect = lambda *_: self.ended.set()
        self.paho.on_message = lambda _c, _u, m: self.got.append((m.topic, m.payload, m.retain, m.dup, m.mid))
        self.paho.on_publish = lambda _c, _u, mid, *_: self.acks.add(mid)
        self.paho.on_subscribe = lambda _c, _u, _mid, codes, _p: self.grants.append([c.value for c in codes])

    def _connected(self, _client: Any, _userdata: Any, flags: Any, code: Any, _properties: Any) -> None:
        self.was_present = flags.session_present
        self.code = code.value

    async def connect(self, port: int, keepalive: int = 60) -> "Client":
        await asyncio.to_thread(self.paho.connect, "127.0.0.1", port, keepalive)
        self.paho.loop_start()
        await until(lambda: self.code is not None or self.ended.is_set())
        return self

    async def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        mid = self.paho.publish(topic, payload, qos, retain).mid
        await until(lambda: mid in self.acks)

    async def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        count = len(self.grants)
        self.paho.subscribe(topic_filter, qos)
        await until(lambda: len(self.grants) > count)
        return self.grants[-1][0]

    def payloads(self) -> list[bytes]:
        return [payload for _, payload, *_ in self.got]

    def ack(self, messages: list[tuple[str, bytes, bool, bool, int]]) -> None:
        for *_, mid in messages:
            self.paho.ack(mid, 1)

    async def cut(self) -> None:
        """Break the connection without DISCONNECT."""
        with suppress(OSError):
            self.paho.socket().shutdown(socket.SHUT_RDWR)
        await until(self.ended.is_set)
        await asyncio.to_thread(self.paho.loop_stop)

    async def leave(self) -> None:
        self.paho.disconnect()
        await asyncio.to_thread(self.paho.loop_stop)


@pytest.fixture(scope="module")
def authenticator() -> Authenticator:
    return Authenticator()


@pytest.fixture(scope="module")
async def ports(authenticator: Authenticator) -> AsyncIterator[Ports]:
    async with serve("127.0.0.1", 0, 0, authenticator, Limits(device_queue=20_000)) as found:
        yield found


@pytest.fixture
async def join(ports: Ports) -> AsyncIterator[Callable[..., Any]]:
    """Connects clients that leave at the end of the test."""
    clients: list[Client] = []

    async def connect(username: str, *, keepalive: int = 60, ws: bool = False, **options: Any) -> Client:
        client = Client(username, ws=ws, **options)
        if will := options.pop("will", None):
            client.paho.will_set(*will)
        clients.append(client)
        return await client.connect(ports.ws if ws else ports.tcp, keepalive)

    yield connect
    for client in clients:
        await client.leave()


async def with_will(ports: Ports, username: str, topic: str, keepalive: int = 60) -> Client:
    client = Client(username)
    client.paho.will_set(topic, b"gone", 1, retain=False)
    return await client.connect(ports.tcp, keepalive)


@asynccontextmanager
async def raw(
    ports: Ports, *packets: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", ports.tcp)
    try:
        writer.write(b"".join(packets))
        yield reader, writer
    finally:
        writer.close()


def text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def packet(first: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while size >= 128:
        length += bytes([size % 128 | 128])
        size //= 128
    return bytes([first]) + length + bytes([size]) + body


def connect_packet(username: str) -> bytes:
    body = text("MQTT") + b"\x04\xc2\0\x3c"
    return packet(0x10, body + text(f"raw-{next(numbers)}") + text(username) + text(secret(username)))


def connect_with_will(device: str, keepalive: int = 60) -> bytes:
    body = text("MQTT") + b"\x04\xce" + keepalive.to_bytes(2, "big") + text(f"raw-{next(numbers)}")
    will = text(f"v1/{device}/status") + text("gone")
    return packet(0x10, body + will + text(device) + text(secret(device)))


# --- who may come in -------------------------------------------------------------------------------------


async def test_only_the_right_password_comes_in(
    join: Any, ports: Ports, authenticator: Authenticator
) -> None:
    device = a_device()
    assert (await join(device)).code == 0
    for username, password in ((device, "wrong"), (device, ""), ("nobody/x", "y"), (SERVICE, "guess")):
        client = Client(username)
        client.paho.username_pw_set(username, password)
        assert (await client.connect(ports.tcp)).code == 134  # bad user name or password, as MQTT 5 counts
        await client.leave()
    anonymous = Client(device)
    anonymous.paho.username_pw_set(None)
    assert (await anonymous.connect(ports.tcp)).code == 134
    await anonymous.leave()


async def test_an_unreachable_authenticator_asks_the_client_to_come_again(
    ports: Ports, authenticator: Authenticator
) -> None:
    authenticator.is_away = True
    client = await Client(a_device()).connect(ports.tcp)
    authenticator.is_away = False
    assert client.code == 136  # server unavailable
    await client.leave()


async def test_mqtt_5_is_told_that_it_is_not_spoken(ports: Ports) -> None:
    body = text("MQTT") + b"\x05\x02\x00\x3c\x00" + text("five")
    async with raw(ports, packet(0x10, body)) as (reader, _):
        assert await reader.read() == b"\x20\x02\x00\x01"


async def test_a_stranger_cannot_take_over_or_clear_a_session(join: Any, ports: Ports) -> None:
    victim, stranger = a_device(), a_device()
    owner = await join(victim, client_id="shared-id", clean_session=False)
    await owner.subscribe(f"v1/{victim}/desired")
    for username, password in ((victim, "wrong"), (stranger, secret(stranger))):
        thief = Client(username, client_id="shared-id")
        thief.paho.username_pw_set(username, password)
        await thief.connect(ports.tcp)
        assert not thief.was_present
        await thief.leave()
    assert not owner.ended.is_set()
    await (await join(SERVICE)).publish(f"v1/{victim}/desired", b"still mine")
    await until(lambda: owner.payloads() == [b"still mine"])


async def test_the_same_client_takes_its_session_over(join: Any) -> None:
    device = a_device()
    first = await join(device, client_id="again", clean_session=False)
    await first.subscribe(f"v1/{device}/desired")
    second = await join(device, client_id="again", clean_session=False)
    await until(first.ended.is_set)
    assert second.was_present
    await (await join(SERVICE)).publish(f"v1/{device}/desired", b"x")
    await until(lambda: second.payloads() == [b"x"])


# --- who may do what -------------------------------------------------------------------------------------

TAILS = (
    "telemetry",
    "status",
    "state",
    "cmd/7",
    "cmd/7/result",
    "desired",
    "receipt",
    "error",
    "other",
    "cmd",
)


def topics_around(device: str, other: str) -> list[str]:
    own = [f"v1/{path}/{tail}" for path in (device, other) for tail in TAILS]
    return [*own, "v1/acme/_events/device.online", "v2/x/y/telemetry", "telemetry"]


async def test_publishing_obeys_core_access(join: Any) -> None:
    device, other = a_device(), a_device()
    service, sender = await join(SERVICE), await join(device)
    assert await service.subscribe("v1/#") == 1
    for topic in topics_around(device, other):
        await sender.publish(topic, topic.encode())
    await sender.publish(f"v1/{device}/heartbeat", b"last")
    await until(lambda: b"last" in service.payloads())
    allowed = [topic for topic in topics_around(device, other) if may_publish(device, topic)]
    assert [topic for topic, *_ in service.got] == [*allowed, f"v1/{device}/heartbeat"]


async def test_subscribing_obeys_core_access(join: Any, ports: Ports) -> None:
    device, other = a_device(), a_device()
    wild = [
        "#",
        "+",
        "v1/#",
        "v1/+/+/desired",
        f"v1/{device}/#",
        f"v1/{device}/+",
        f"v1/{device}/cmd/+",
        "v1/+/x",
    ]
    special = [
        "$SYS/#",
        "$SYS/broker/clients/total",
        "$share/g/v1/#",
        "$CONTROL/#",
        f"$share/g/v1/{device}/desired",
    ]
    broken = [f"v1/{device}/cmd/a+", f"v1/{device}/cmd/#x", f"v1/{device}/des#"]
    for username in (device, SERVICE, CONTROL):
        client = await join(username)
        for topic_filter in [*topics_around(device, other), *wild]:
            expected = 1 if may_subscribe(username, topic_filter) else REFUSED
            assert (username, topic_filter, await client.subscribe(topic_filter)) == (
                username,
                topic_filter,
                expected,
            )
        for topic_filter in special:
            assert await client.subscribe(topic_filter) == REFUSED
    asked = packet(0x82, b"\0\1" + b"".join(text(one) + b"\1" for one in broken))
    async with raw(ports, connect_packet(device), asked) as (reader, _):
        assert await reader.readexactly(4 + 7) == b"\x20\x02\0\0" + b"\x90\x05\0\1" + b"\x80" * 3


async def test_receiving_obeys_core_access(join: Any) -> None:
    device, other = a_device(), a_device()
    service, reader = await join(SERVICE), await join(device)
    for tail in ("cmd/+", "desired", "receipt", "error"):
        await reader.subscribe(f"v1/{device}/{tail}")
    for topic in topics_around(device, other):
        await service.publish(topic, b"x")
    await service.publish(f"v1/{device}/receipt", b"last")
    await until(lambda: b"last" in reader.payloads())
    expected = [topic for topic in topics_around(device, other) if may_receive(device, topic)]
    assert [topic for topic, *_ in reader.got] == [*expected, f"v1/{device}/receipt"]


async def test_an_unsubscribed_topic_is_quiet(join: Any) -> None:
    device = a_device()
    service, reader = await join(SERVICE), await join(device)
    await reader.subscribe(f"v1/{device}/error")
    await reader.subscribe(f"v1/{device}/desired")
    reader.paho.unsubscribe(f"v1/{device}/error")
    await reader.subscribe(f"v1/{device}/receipt")  # answered after the UNSUBSCRIBE was handled
    await service.publish(f"v1/{device}/error", b"unwanted")
    await service.publish(f"v1/{device}/desired", b"wanted")
    await until(lambda: reader.payloads() == [b"wanted"])


@pytest.mark.parametrize("ws", [False, True], ids=["tcp", "ws"])
async def test_each_qos_arrives_once(join: Any, ws: bool) -> None:
    device = a_device()
    service, sender = await join(SERVICE, ws=ws), await join(device, ws=ws)
    await service.subscribe(f"v1/{device}/telemetry")
    sent = [f"{qos}-{n}".encode() for n in range(20) for qos in (0, 1, 2)]
    for payload in sent:
        sender.paho.publish(f"v1/{device}/telemetry", payload, int(payload[:1]))
    await until(lambda: len(service.got) >= len(sent))
    assert sorted(service.payloads()) == sorted(sent)


async def test_what_a_leaving_client_sent_last_arrives(join: Any, ports: Ports) -> None:
    device = a_device()
    service = await join(SERVICE)
    await service.subscribe(f"v1/{device}/telemetry", 0)
    publishes = [packet(0x30, text(f"v1/{device}/telemetry") + b"x" * 100 + b"%d" % n) for n in range(3000)]
    async with raw(ports, connect_packet(device), *publishes, b"\xe0\x00"):
        pass
    await until(lambda: len(service.got) == 3000)


def test_filters_match_as_they_do_in_paho() -> None:
    levels = ["a", "b", "", "+", "#"]
    texts = ["/".join(parts) for size in (1, 2, 3) for parts in itertools.product(levels, repeat=size)]
    filters = [text for text in texts if is_filter(text)]
    topics = [text for text in texts if is_topic(text)]
    assert (len(filters), len(topics)) == (105 - 1, 39 - 1)  # without the empty one
    tree: Subscriptions[str] = Subscriptions()
    for topic_filter in filters:
        tree.add(topic_filter, topic_filter, 1)
    for topic in topics:
        assert set(tree.matching(topic)) == {one for one in filters if paho.topic_matches_sub(one, topic)}
    for topic_filter in filters:
        tree.discard(topic_filter, topic_filter)
    assert not any(tree.matching(topic) for topic in topics)


# --- revocation ------------------------------------------------------------------------------------------


async def test_an_expelled_user_is_cut_at_once_and_stays_out(
    join: Any, ports: Ports, authenticator: Authenticator
) -> None:
    device, other = a_device(), a_device()
    service, control, bystander = await join(SERVICE), await join(CONTROL), await join(other)
    await service.subscribe(f"v1/{device}/status")
    victims = [await with_will(ports, device, f"v1/{device}/status"), await join(device, ws=True)]
    authenticator.removed.add(device)
    began = time.monotonic()
    await control.publish(EXPEL_TOPIC, device.encode())
    await until(lambda: all(victim.ended.is_set() for victim in victims))
    assert time.monotonic() - began < 1.0
    again = await Client(device).connect(ports.tcp)
    assert again.code == 134
    await again.leave()
    await service.publish(f"v1/{device}/status", b"end")
    await until(lambda: service.payloads() == [b"end"])  # and no will
    assert not bystander.ended.is_set()


async def test_an_expulsion_reaches_a_login_under_way(
    join: Any, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(_self: Authenticator, username: str, _password: str) -> bool:
        if username == device:
            asked.set()
            await answer.wait()
        return True

    device = a_device()
    control, service = await join(CONTROL), await join(SERVICE)
    await service.subscribe(f"v1/{device}/status")
    monkeypatch.setattr(Authenticator, "__call__", slow)
    async with raw(ports, connect_with_will(device)) as (reader, _):
        await asked.wait()
        await control.publish(EXPEL_TOPIC, device.encode())
        answer.set()
        with suppress(ConnectionError):
            assert await reader.read() == b""
    await service.publish(f"v1/{device}/status", b"end")
    await until(lambda: service.payloads() == [b"end"])


async def test_the_gate_cuts_from_another_connection(join: Any, ports: Ports) -> None:
    device = a_device()
    login = Login("127.0.0.1", ports.tcp, CONTROL, secret(CONTROL), "3.1.1")
    async with Publisher.connected(login, "gate") as publisher:
        await until(lambda: publisher.is_connected)
        gate: Gate = EmbeddedGate(publisher)
        await gate.expel("nobody/there")
        for call in (gate.expel(device), gate.admit(device, "new secret")):
            victim = await join(device)
            began = time.monotonic()
            await call
            await until(victim.ended.is_set)
            assert time.monotonic() - began < 1.0


async def test_the_gate_says_when_the_broker_is_away(ports: Ports) -> None:
    login = Login("127.0.0.1", 1, CONTROL, secret(CONTROL), "3.1.1")
    async with Publisher.connected(login, "gate") as publisher:
        with pytest.raises(GateError, match="acme/x"):
            await EmbeddedGate(publisher).expel("acme/x")


async def test_only_control_expels(join: Any) -> None:
    device = a_device()
    victim = await join(device)
    for username in (a_device(), SERVICE):
        await (await join(username)).publish(EXPEL_TOPIC, device.encode())
    assert not victim.ended.is_set()
    await victim.publish(f"v1/{device}/telemetry", b"{}")


# --- redelivery ------------------------------------------------------------------------------------------


async def test_unacked_messages_come_again_in_order_before_newer_ones(join: Any) -> None:
    device = a_device()
    topic = f"v1/{device}/telemetry"
    worker = {"client_id": f"worker-{device}", "clean_session": False, "manual_ack": True}
    first, sender = await join(SERVICE, **worker), await join(device)
    await first.subscribe(topic)
    for n in range(500):
        sender.paho.publish(topic, b"%d" % n, 1)
    await until(lambda: len(first.got) == 500)
    first.ack(first.got[:100])
    await first.publish(f"v1/{device}/receipt", b"")  # answered after the 100 acks were handled
    await first.cut()
    await sender.publish(topic, b"newer")

    second = await join(SERVICE, **worker)
    assert second.was_present
    await until(lambda: len(second.got) >= 401)
    assert second.payloads() == [*(b"%d" % n for n in range(100, 500)), b"newer"]
    assert [got[3:] for got in second.got[:400]] == [
        (True, got[4]) for got in first.got[100:]
    ]  # DUP, same id
    assert not second.got[400][3]
    assert not any(retain for _, _, retain, *_ in second.got)
    second.ack(second.got)
    await second.publish(f"v1/{device}/receipt", b"")
    await second.cut()
    third = await join(SERVICE, **worker)
    await sender.publish(topic, b"only this")
    await until(lambda: third.payloads() == [b"only this"])


async def test_a_puback_after_more_than_five_seconds_is_neither_lost_nor_doubled(join: Any) -> None:
    device = a_device()
    topic = f"v1/{device}/telemetry"
    worker = {"client_id": f"late-{device}", "clean_session": False, "manual_ack": True}
    first, sender = await join(SERVICE, **worker), await join(device)
    await first.subscribe(topic)
    for n in range(500):
        sender.paho.publish(topic, b"%d" % n, 1)
    await until(lambda: len(first.got) == 500)
    await asyncio.sleep(5.5)  # amqtt's own limit is 5 s
    assert len(first.got) == 500
    first.ack(first.got[:250])
    await first.publish(f"v1/{device}/receipt", b"")
    await first.cut()
    second = await join(SERVICE, **worker)
    await sender.publish(topic, b"newer")
    await until(lambda: second.payloads() == [*(b"%d" % n for n in range(250, 500)), b"newer"])


async def test_batch_acks_do_not_make_deliveries_wait_for_one_another(join: Any) -> None:
    """5,000 messages, acked every 50 ms: one at a time would take 250 s, a window of 1,000 about 0.25 s."""
    device = a_device()
    topic = f"v1/{device}/telemetry"
    worker, sender = await join(SERVICE, manual_ack=True), await join(device)
    await worker.subscribe(topic)
    for n in range(5000):
        sender.paho.publish(topic, b"%d" % n, 1)
    began, acked = time.monotonic(), 0
    while acked < 5000 and time.monotonic() < began + 20:
        await asyncio.sleep(0.05)
        batch = worker.got[acked:]
        assert len(batch) <= 1000
        worker.ack(batch)
        acked += len(batch)
    assert worker.payloads() == [b"%d" % n for n in range(5000)]


async def test_a_backlog_waits_for_a_subscriber_that_is_away(join: Any) -> None:
    device = a_device()
    topic = f"v1/{device}/telemetry"
    worker = {"client_id": f"away-{device}", "clean_session": False}
    first, sender = await join(SERVICE, **worker), await join(device)
    await first.subscribe(topic)
    await first.leave()
    for n in range(3000):
        sender.paho.publish(topic, b"%d" % n, 1)
    await until(lambda: len(sender.acks) == 3000)
    second = await join(SERVICE, **worker)
    await until(lambda: len(second.got) == 3000)
    assert second.payloads() == [b"%d" % n for n in range(3000)]


async def test_an_outbox_outlasts_all_packet_ids() -> None:
    """The first message stays unacknowledged while the ids go round: its own is never given twice."""
    outbox = Outbox(limit=2**30, window=3)
    for n in range(70_000):
        assert outbox.put(Message("t", b"%d" % n, 1))
    seen = await outbox.take()
    while len(seen) < 70_000:
        outbox.settle(seen[-1].packet_id or 0)
        seen += await outbox.take()
    assert [int(delivery.message.payload) for delivery in seen] == list(range(70_000))
    assert [delivery.packet_id for delivery in seen].count(1) == 1
    outbox.reopen()
    again = await outbox.take()
    assert [(one.packet_id, one.dup) for one in again] == [(1, True), (2, True), (seen[-1].packet_id, True)]


async def test_a_full_queue_of_a_device_drops_and_of_a_service_refuses(authenticator: Authenticator) -> None:
    device = a_device()
    limits = Limits(service_queue=10_000, device_queue=10_000)
    async with serve("127.0.0.1", 0, 0, authenticator, limits) as ports:
        sender = await Client(SERVICE).connect(ports.tcp)
        away = await Client(device, "away", clean_session=False).connect(ports.tcp)
        await away.subscribe(f"v1/{device}/desired")
        await away.leave()
        for n in range(100):
            await sender.publish(f"v1/{device}/desired", b"%d" % n)  # all acknowledged
        back = await Client(device, "away", clean_session=False).connect(ports.tcp)
        await until(lambda: len(back.got) > 20)
        assert back.payloads() == [b"%d" % n for n in range(len(back.got))]

        ingest = await Client(SERVICE, "ingest", clean_session=False).connect(ports.tcp)
        await ingest.subscribe(f"v1/{device}/telemetry")
        await ingest.leave()
        for n in range(100):
            back.paho.publish(f"v1/{device}/telemetry", b"%d" % n, 1)
        await until(back.ended.is_set)  # cut, so that it keeps and resends what was not acknowledged
        acked = len(back.acks)
        ingest = await Client(SERVICE, "ingest", clean_session=False).connect(ports.tcp)
        await until(lambda: len(ingest.got) >= acked)
        assert 0 < acked <= len(ingest.got) < 100
        for client in (sender, back, ingest):
            await client.leave()


# --- presence --------------------------------------------------------------------------------------------


async def test_a_silent_client_is_cut_after_its_keepalive_and_its_will_published(
    join: Any, ports: Ports
) -> None:
    device = a_device()
    service = await join(SERVICE)
    await service.subscribe(f"v1/{device}/status")
    async with raw(ports, connect_with_will(device, keepalive=1)) as (reader, _):
        await reader.readexactly(4)
        began = time.monotonic()
        await until(lambda: service.payloads() == [b"gone"])
        assert 1.0 < time.monotonic() - began < 2.5


async def test_a_client_that_pings_stays(join: Any) -> None:
    client = await join(a_device(), keepalive=1)
    await asyncio.sleep(2.5)
    assert not client.ended.is_set()


async def test_a_will_follows_a_cut_and_not_a_disconnect(join: Any, ports: Ports) -> None:
    service = await join(SERVICE)
    await service.subscribe("v1/+/+/status")
    polite, cut = a_device(), a_device()
    await (await with_will(ports, polite, f"v1/{polite}/status")).leave()
    await (await with_will(ports, cut, f"v1/{cut}/status")).cut()
    await until(lambda: service.got)
    assert [(topic, payload) for topic, payload, *_ in service.got] == [(f"v1/{cut}/status", b"gone")]


async def test_a_will_obeys_core_access(join: Any, ports: Ports) -> None:
    device, other = a_device(), a_device()
    service = await join(SERVICE)
    await service.subscribe("v1/#")
    topics = [*topics_around(device, other), "$SYS/x", EXPEL_TOPIC]
    for topic in topics:
        await (await with_will(ports, device, topic)).cut()
    await service.publish(f"v1/{device}/heartbeat", b"end")
    await until(lambda: service.payloads()[-1:] == [b"end"])
    expected = [topic for topic in topics if may_publish(device, topic)]
    assert [topic for topic, *_ in service.got[:-1]] == expected


async def test_retained_messages_are_set_replaced_cleared_and_kept_from_strangers(join: Any) -> None:
    device, other = a_device(), a_device()
    status, desired = f"v1/{device}/status", f"v1/{device}/desired"
    sender, service = await join(device), await join(SERVICE)
    await sender.publish(status, b"old", retain=True)
    await sender.publish(status, b"new", retain=True)
    await service.publish(desired, b"target", retain=True)
    await sender.leave()
    sender = await join(device)
    await sender.subscribe(desired)
    await until(lambda: sender.got)
    assert [got[:3] for got in sender.got] == [(desired, b"target", True)]

    watcher, stranger = await join(SERVICE), await join(other)
    await watcher.subscribe(f"v1/{device}/+")
    await until(lambda: len(watcher.got) == 2)
    assert {got[:3] for got in watcher.got} == {(desired, b"target", True), (status, b"new", True)}
    await stranger.subscribe(f"v1/{other}/desired")
    assert await stranger.subscribe(desired) == REFUSED

    await sender.publish(status, b"", retain=True)
    late = await join(SERVICE)
    await late.subscribe(f"v1/{device}/+")
    await until(lambda: late.got)
    assert [topic for topic, *_ in late.got] == [desired]
    await service.publish(desired, b"", retain=True)
    assert not stranger.got


# --- bad clients -----------------------------------------------------------------------------------------


def bad_packets(device: str) -> dict[str, bytes]:
    topic = text(f"v1/{device}/telemetry")
    return {
        "garbage": b"\xff" * 64,
        "a request for a page": b"GET / HTTP/1.1\r\nHost: " + b"x" * 64 + b"\r\n\r\n",
        "endless length": b"\x30\xff\xff\xff\xff\x7f",
        "oversized": b"\x30" + b"\xff\xff\xff\x7f",
        "a little too large": packet(0x30, topic + b"x" * MAX_PACKET),
        "topic longer than the packet": packet(0x30, b"\xff\xffv1"),
        "wildcard topic": packet(0x30, text("v1/+/telemetry") + b"x"),
        "empty topic": packet(0x30, text("") + b"x"),
        "topic not in UTF-8": packet(0x32, b"\0\2\xff\xfe"),
        "QoS 3": packet(0x36, topic + b"\0\1x"),
        "packet id 0": packet(0x32, topic + b"\0\0x"),
        "PUBLISH without packet id": packet(0x32, topic),
        "SUBSCRIBE without filter": packet(0x82, b"\0\1"),
        "SUBSCRIBE with QoS 3": packet(0x82, b"\0\1" + text("v1/a/b/error") + b"\3"),
        "empty SUBSCRIBE": packet(0x82, b""),
        "empty PUBACK": packet(0x40, b""),
        "PUBACK with more to say": packet(0x40, b"\0\1\0"),
        "two CONNECTs": connect_packet(device) * 2,
        "CONNACK from a client": b"\x20\x02\0\0",
        "reserved type 0": b"\x00\x00",
        "reserved type 15": b"\xf0\x00",
    }


@pytest.mark.parametrize("name", bad_packets("a/b"))
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "after CONNECT"])
async def test_a_malformed_packet_ends_its_sender_only(
    join: Any, ports: Ports, name: str, is_first: bool
) -> None:
    device = a_device()
    bad = bad_packets(device)[name]
    greeting = b"" if is_first else connect_packet(device)
    async with raw(ports, greeting, bad) as (reader, _):
        with suppress(ConnectionError):
            answer = await asyncio.wait_for(reader.read(), 5)
            assert answer in (b"", b"\x20\x02\0\0")
    service = await join(SERVICE)
    await service.subscribe("v1/x/y/telemetry")
    await service.publish("v1/x/y/telemetry", b"alive")
    await until(lambda: service.payloads() == [b"alive"])


async def test_a_malformed_will_leaves_its_session_free(join: Any, ports: Ports) -> None:
    device = a_device()
    await (await join(device, client_id="w", clean_session=False)).leave()
    body = text("MQTT") + b"\x04\xcc\0\x3c" + text("w") + text("v1/+/x") + text("gone")
    async with raw(ports, packet(0x10, body + text(device) + text(secret(device)))) as (reader, _):
        with suppress(ConnectionError):
            assert await reader.read() == b""
    again = await join(device, client_id="w", clean_session=False)
    assert (again.code, again.was_present) == (0, True)


async def test_a_packet_cut_short_in_a_web_socket_is_not_made_up(join: Any, ports: Ports) -> None:
    device = a_device()
    service = await join(SERVICE)
    await service.subscribe(f"v1/{device}/telemetry")
    async with ws_connect(f"ws://127.0.0.1:{ports.ws}", subprotocols=["mqtt"]) as client:  # type: ignore[list-item]
        await client.send(connect_packet(device))
        await client.recv()
        whole = packet(0x30, text(f"v1/{device}/telemetry") + b"x" * 100)
        await client.send(whole[:60])
    await service.publish(f"v1/{device}/telemetry", b"end")
    await until(lambda: service.payloads() == [b"end"])


async def test_a_subscriber_that_stops_reading_holds_nobody_up(join: Any, ports: Ports) -> None:
    device, stuck = a_device(), a_device()
    service, reader = await join(SERVICE), await join(device)
    await reader.subscribe(f"v1/{device}/desired")
    wants = packet(0x82, b"\0\1" + text(f"v1/{stuck}/desired") + b"\0")
    async with raw(ports, connect_packet(stuck), wants):
        for _ in range(2000):
            service.paho.publish(f"v1/{stuck}/desired", b"x" * 15_000, 0)
        await service.publish(f"v1/{device}/desired", b"through")
        await until(lambda: reader.payloads() == [b"through"])


async def test_a_taken_port_is_named(ports: Ports, authenticator: Authenticator) -> None:
    with pytest.raises(EmbeddedBrokerError, match=str(ports.tcp)):
        async with serve("127.0.0.1", ports.tcp, 0, authenticator):
            pass
