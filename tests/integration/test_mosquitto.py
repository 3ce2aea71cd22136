"""The files that Sluice writes, judged by a real Mosquitto: who gets in, who reads what, what survives."""

import asyncio
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker.dynsec import DynsecGate, connected
from broker.gate import GateError
from broker.mosquitto import COMMANDS, MAX_PACKET_BYTES, RESPONSES
from core.access import CONTROL, SERVICE, may_publish, may_receive, may_subscribe
from core.topics import receipt
from tests.services import HOST, Mosquitto

ONE, TWO, OTHER = "acme/one", "acme/two", "bell/one"
DEVICES = (ONE, TWO, OTHER)
VERSIONS = (paho.MQTTv311, paho.MQTTv5)
TAILS = (
    *("telemetry", "heartbeat", "event", "status", "state", "cmd/7", "cmd/7/result", "cmd/7/result/x"),
    *("desired", "receipt", "error", "unheard", "telemetry/x", "telemetry/_reply/x", "telemetry/"),
)
TOPICS = (
    *(f"v1/{path}/{tail}" for path in DEVICES for tail in TAILS),
    *(
        "v1/acme/telemetry",
        "v1/acme/_events/device.online",
        "v1/_reply/x",
        "v2/acme/one/telemetry",
        "telemetry",
    ),
    *("/v1/acme/one/telemetry", "v1//one/telemetry", "$SYS/broker/load", COMMANDS, RESPONSES),
    "$share/g/v1/acme/one/telemetry",
)
OWN = ("v1/acme/one/desired", "v1/acme/one/cmd/+", "v1/acme/one/cmd/7", "v1/acme/one/error")
FILTERS = (
    *OWN,
    *(
        "#",
        "+/#",
        "/#",
        "v1/#",
        "v1/+/+/+",
        "v1/acme/#",
        "v1/acme/one/#",
        "v1/acme/one/+",
        "v1/+/+/telemetry",
    ),
    *("v1/acme/one/cmd/#", "v1/acme/one/telemetry", "+/acme/one/desired", "v1/acme/_events/+", "$SYS/#"),
    *("$CONTROL/#", COMMANDS, RESPONSES, "$share/g/#", "$share/g/v1/#", "$share/g/v1/+/+/telemetry"),
    *("$share/g/v1/acme/one/desired", "$share/g/v1/acme/two/desired", "$share/v1/acme/one/desired"),
)
# Mosquitto 2.0 tells no device from another when they subscribe: it grants these and delivers
# of them what is the device's own.
GRANTED_IN_VAIN = (
    *("v1/acme/two/desired", "v1/bell/one/cmd/+", "v1/acme/two/cmd/7", "v1/bell/one/receipt"),
    *("v1/+/+/desired", "v1/acme/+/desired", "v1/+/one/error", "v1/+/+/cmd/+", "v1/+/+/receipt"),
)


def until(condition: Callable[[], Any], within_s: float = 5.0) -> float:
    """Seconds until `condition` held."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, "the condition did not come true in time"
        time.sleep(0.002)
    return time.monotonic() - began


class Client:
    """paho with its network thread, which does not come back by itself. `got`: (topic, payload, dup)."""

    def __init__(
        self,
        broker: Mosquitto,
        username: str | None,
        password: str | None = None,
        version: int = paho.MQTTv5,
        session: str | None = None,
        will: str | None = None,
        **options: Any,
    ) -> None:
        is_ws = options.get("transport") == "websockets"
        five = version == paho.MQTTv5
        self.got: list[tuple[str, bytes, bool]] = []
        self.code: Any = None
        self.resumed = False
        self.is_cut = False
        self._subacks: dict[int, Any] = {}
        self._pubacks: dict[int, Any] = {}
        if not five:
            options["clean_session"] = session is None
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=session or secrets.token_hex(8),
            protocol=version,
            reconnect_on_failure=False,
            **options,
        )
        if username is not None:
            self.paho.username_pw_set(username, password or broker.users[username])
        if will:
            self.paho.will_set(will, b"will", qos=1)
        if not is_ws:
            self.paho.on_socket_open = _send_at_once
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = lambda *_: setattr(self, "is_cut", True)
        self.paho.on_message = lambda _c, _u, m: self.got.append((m.topic, m.payload, m.dup))
        self.paho.on_subscribe = lambda _c, _u, mid, codes, _p: self._subacks.update({mid: codes[0]})
        self.paho.on_publish = lambda _c, _u, mid, code, _p: self._pubacks.update({mid: code})
        kept = Properties(PacketTypes.CONNECT) if five and session else None
        if kept:
            kept.SessionExpiryInterval = 3600
        clean = {"clean_start": session is None, "properties": kept} if five else {}
        self.paho.connect(HOST, broker.broker.ws_port if is_ws else broker.broker.port, **clean)
        self.paho.loop_start()
        until(lambda: self.code is not None or self.is_cut)

    def _on_connect(self, _c: Any, _u: Any, flags: Any, code: Any, _p: Any) -> None:
        self.resumed, self.code = flags.session_present, code

    @property
    def is_in(self) -> bool:
        return self.code is not None and not self.code.is_failure

    def may_subscribe(self, topic_filter: str) -> bool:
        _, mid = self.paho.subscribe(topic_filter, qos=1)
        until(lambda: mid in self._subacks)
        return not self._subacks[mid].is_failure

    def publish(self, topic: str, payload: bytes = b"", retain: bool = False) -> Any:
        """The reason code of the PUBACK; None where the connection was closed instead."""
        mid = self.paho.publish(topic, payload, qos=1, retain=retain).mid
        until(lambda: mid in self._pubacks or self.is_cut)
        return None if self.is_cut else self._pubacks[mid]

    def payloads(self) -> list[bytes]:
        return [payload for _, payload, _ in self.got]

    def vanish(self) -> None:
        """Without DISCONNECT, so that the will is due."""
        if (connection := self.paho.socket()) is not None:
            connection.shutdown(socket.SHUT_RDWR)
        self.paho.loop_stop()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


def _send_at_once(_c: Any, _u: Any, connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def can_log_in(broker: Mosquitto, username: str, password: str) -> bool:
    with Client(broker, username, password) as client:
        return client.is_in


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    devices = {path: secrets.token_urlsafe() for path in DEVICES}
    with Mosquitto(tmp_path_factory.mktemp("mosquitto"), devices) as running:
        yield running


@pytest.fixture(scope="module")
def service(broker: Mosquitto) -> Iterator[Client]:
    with Client(broker, SERVICE) as client:
        assert client.may_subscribe("v1/#")
        yield client


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("username", [ONE, OTHER, SERVICE, CONTROL])
def test_publish(broker: Mosquitto, service: Client, username: str, version: int) -> None:
    service.got.clear()
    with Client(broker, username, version=version) as client:
        for topic in TOPICS:
            if (username, topic) == (CONTROL, COMMANDS):
                continue
            code = client.publish(topic, b"m")
            assert code is not None, f"{topic} closed the connection"
            if version == paho.MQTTv5:
                assert code.is_failure != may_publish(username, topic), topic
    service.publish("v1/end")
    until(lambda: service.got[-1][0] == "v1/end")
    seen = {topic for topic, _, _ in service.got} - {"v1/end"}
    assert seen == {topic for topic in TOPICS if may_publish(username, topic) and topic.startswith("v1/")}


def test_retained_publish(broker: Mosquitto, service: Client) -> None:
    allowed = {topic for topic in TOPICS if may_publish(ONE, topic)}
    with Client(broker, ONE) as device, Client(broker, SERVICE) as late:
        for topic in TOPICS:
            device.publish(topic, b"kept", retain=True)
        assert late.may_subscribe("v1/#")
        service.publish("v1/end")
        until(lambda: late.got and late.got[-1][0] == "v1/end")
        assert {topic for topic, payload, _ in late.got if payload == b"kept"} == allowed
        for topic in allowed:
            device.publish(topic, b"", retain=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_will(broker: Mosquitto, service: Client, version: int) -> None:
    service.got.clear()
    allowed = {topic for topic in TOPICS if may_publish(ONE, topic)}
    for topic in sorted(TOPICS, key=lambda topic: topic in allowed):  # the allowed ones last
        Client(broker, ONE, version=version, will=topic).vanish()
    until(lambda: {topic for topic, payload, _ in service.got if payload == b"will"} >= allowed)
    assert {topic for topic, payload, _ in service.got if payload == b"will"} == allowed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("username", [ONE, SERVICE])
def test_subscribe(broker: Mosquitto, service: Client, username: str, version: int) -> None:
    """Retained messages lie on all topics, then live ones come: nobody sees what is not theirs."""
    end = receipt(username) if username != SERVICE else "v1/end"
    concrete = [topic for topic in TOPICS if may_publish(SERVICE, topic) and topic != end]
    for topic in concrete:
        service.publish(topic, b"kept", retain=True)
    with ExitStack() as stack:
        clients: dict[str, Client] = {}
        for topic_filter in (*FILTERS, *GRANTED_IN_VAIN):
            client = clients[topic_filter] = stack.enter_context(Client(broker, username, version=version))
            wanted = may_subscribe(username, topic_filter) or topic_filter in GRANTED_IN_VAIN
            assert client.may_subscribe(topic_filter) == wanted, topic_filter
            assert client.may_subscribe(end)
        for topic in concrete:
            service.publish(topic, b"live")
        service.publish(end, b"end")
        for topic_filter, client in clients.items():
            until(lambda client=client: b"end" in client.payloads())
            got = [(topic, payload) for topic, payload, _ in client.got if payload != b"end"]
            assert all(may_receive(username, topic) for topic, _ in got), topic_filter
            if may_subscribe(username, topic_filter) and not topic_filter.startswith("$share"):
                matched = {topic for topic in concrete if paho.topic_matches_sub(topic_filter, topic)}
                assert {topic for topic, payload in got if payload == b"live"} == matched
                assert {topic for topic, payload in got if payload == b"kept"} == matched
            elif not may_subscribe(username, topic_filter) and topic_filter not in GRANTED_IN_VAIN:
                assert not got, topic_filter
    for topic in concrete:
        service.publish(topic, b"", retain=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_control_reads_its_responses_only(broker: Mosquitto, version: int) -> None:
    with Client(broker, CONTROL, version=version) as control:
        for topic_filter in (*FILTERS, *GRANTED_IN_VAIN, "$share/g/" + RESPONSES):
            assert control.may_subscribe(topic_filter) == (topic_filter == RESPONSES), topic_filter


@pytest.mark.parametrize("version", VERSIONS)
def test_logins_that_are_refused(broker: Mosquitto, version: int) -> None:
    for username, password in (
        (ONE, "wrong"),
        ("acme/nobody", "x"),
        ("+/+", "x"),
        (SERVICE, "x"),
        (None, None),
    ):
        with Client(broker, username, password, version=version) as client:
            assert not client.is_in, username


def test_websocket(broker: Mosquitto, service: Client) -> None:
    with Client(broker, TWO, transport="websockets") as device:
        assert device.may_subscribe(receipt(TWO))
        assert not device.publish("v1/acme/two/telemetry", b"over the web").is_failure
        service.publish(receipt(TWO), b"stored")
        until(lambda: b"stored" in device.payloads())
    until(lambda: b"over the web" in service.payloads())


@pytest.mark.parametrize("version", VERSIONS)
def test_large_messages_arrive_or_are_never_acknowledged(
    broker: Mosquitto, service: Client, version: int
) -> None:
    with Client(broker, ONE, version=version) as device:
        large = bytes(MAX_PACKET_BYTES - 100)
        assert device.publish("v1/acme/one/telemetry", large) is not None
        until(lambda: large in service.payloads())
        assert device.publish("v1/acme/one/telemetry", bytes(MAX_PACKET_BYTES)) is None


async def within_a_second(condition: Callable[[], bool]) -> None:
    assert await asyncio.to_thread(until, condition, 1.0) < 1.0


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_gate(broker: Mosquitto, version: str) -> None:
    path = f"acme/new-{version.replace('.', '-')}"
    async with connected(broker.login(CONTROL, version), f"gate-{version}") as gate:
        assert not await asyncio.to_thread(can_log_in, broker, path, "first")
        await gate.admit(path, "first")
        await within_a_second(lambda: can_log_in(broker, path, "first"))
        with Client(broker, path, "first") as device:
            assert not device.publish(f"v1/{path}/telemetry").is_failure
            await gate.admit(path, "second")
            await within_a_second(lambda: device.is_cut)
        assert not await asyncio.to_thread(can_log_in, broker, path, "first")
        with Client(broker, path, "second") as device:
            assert device.is_in
            await gate.expel(path)
            await within_a_second(lambda: device.is_cut)
        assert not await asyncio.to_thread(can_log_in, broker, path, "second")
        await gate.expel(path)


async def test_gate_serves_many_at_once(broker: Mosquitto) -> None:
    paths = [f"acme/many-{n}" for n in range(20)]
    async with connected(broker.login(CONTROL), "gate-many") as gate:
        await asyncio.gather(*(gate.admit(path, path) for path in paths))
        assert all(await asyncio.gather(*(asyncio.to_thread(can_log_in, broker, p, p) for p in paths)))
        await asyncio.gather(*(gate.expel(path) for path in paths))


@pytest.mark.parametrize(
    "username", ["+/+", "acme/#", "acme", "acme/one/two", SERVICE, CONTROL, "", "acme/%u"]
)
async def test_gate_takes_device_names_only(broker: Mosquitto, username: str) -> None:
    async with connected(broker.login(CONTROL), "gate-names") as gate:
        with pytest.raises(GateError, match="is not org/device"):
            await gate.admit(username, "secret")
        with pytest.raises(GateError, match="is not org/device"):
            await gate.expel(username)


async def test_gate_says_so_when_the_broker_does_not_obey(broker: Mosquitto) -> None:
    async with connected(broker.login(ONE), "gate-impostor", timeout_s=0.5) as gate:
        with pytest.raises(GateError, match="no answer"):
            await gate.admit("acme/sneaked-in", "secret")
    assert not await asyncio.to_thread(can_log_in, broker, "acme/sneaked-in", "secret")


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """One that a test may stop."""
    with Mosquitto(tmp_path / "broker", {ONE: "one", TWO: "two"}) as running:
        yield running


async def test_restart_from_the_database(own_broker: Mosquitto) -> None:
    """What the gate changed holds until the broker starts anew from what the database says."""

    async def restart(gate: DynsecGate) -> None:
        await asyncio.to_thread(own_broker.stop)
        with pytest.raises(GateError, match="no answer"):
            await gate.admit("acme/late", "late")
        await asyncio.to_thread(own_broker.start)

    async with connected(own_broker.login(CONTROL), "gate", timeout_s=2.0) as gate:
        await gate.admit("acme/unknown-to-the-database", "x")
        del own_broker.devices[TWO]
        await restart(gate)
        assert await asyncio.to_thread(can_log_in, own_broker, ONE, "one")
        assert not await asyncio.to_thread(can_log_in, own_broker, TWO, "two")
        assert not await asyncio.to_thread(can_log_in, own_broker, "acme/unknown-to-the-database", "x")
        await gate.admit(TWO, "again")
        assert await asyncio.to_thread(can_log_in, own_broker, TWO, "again")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_what_waits_survives_a_restart(own_broker: Mosquitto, version: int, sig: signal.Signals) -> None:
    """Messages in flight and queued, retained ones, subscriptions, downlinks of a device that is away."""
    own = {"version": version, "session": "ingest", "manual_ack": True}
    with Client(own_broker, TWO, version=version, session="two") as device:
        assert device.may_subscribe("v1/acme/two/cmd/+")
    ingest = Client(own_broker, SERVICE, **own)
    assert ingest.may_subscribe("v1/+/+/telemetry")
    with Client(own_broker, ONE) as device:
        device.publish("v1/acme/one/telemetry", b"in flight")
        until(lambda: ingest.got)
        ingest.vanish()
        for n in range(1200):  # stock settings drop past 1,000
            device.paho.publish("v1/acme/one/telemetry", b"%d" % n, qos=1)
        device.publish("v1/acme/one/status", b"online", retain=True)
    accepted = time.time()
    if sig == signal.SIGKILL:
        until(lambda: saved_at(own_broker) > accepted)
    own_broker.stop(sig)
    own_broker.start()
    with Client(own_broker, SERVICE, **own) as ingest:
        assert ingest.resumed
        until(lambda: len(ingest.got) == 1201)
        assert ingest.got[0] == ("v1/acme/one/telemetry", b"in flight", True)
        assert ingest.payloads()[1:] == [b"%d" % n for n in range(1200)]
        assert ingest.may_subscribe("v1/+/+/status")
        until(lambda: b"online" in ingest.payloads())
        ingest.publish("v1/acme/two/cmd/1", b"reboot")  # the device has not been back since the restart
    with Client(own_broker, TWO, version=version, session="two") as device:
        until(lambda: device.payloads() == [b"reboot"])


def saved_at(broker: Mosquitto) -> float:
    file = broker.directory / "mosquitto.db"
    return file.stat().st_mtime if file.exists() else 0.0
