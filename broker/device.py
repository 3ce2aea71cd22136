"""The device's side of MQTT: birth, will, QoS 1 uplinks, and the receipts and errors that come back.

One `connected` block is one session. Nothing reconnects by itself: a device decides when it comes back, and
what it sends again.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Literal

import aiomqtt
import msgspec

from broker.login import BrokerAway, Login
from broker.publisher import enter, leave
from core import topics

ACK_S = 10.0  # a PUBACK later than this counts as a broken connection

Downlink = Callable[[str, bytes], None]


class DeviceConnection:
    """Made by `connected`. Every method raises `BrokerAway` once the connection is gone."""

    def __init__(self, client: aiomqtt.Client, path: str, session: int, reader: asyncio.Task[None]) -> None:
        self._client = client
        self._path = path
        self._session = session
        self._reader = reader  # ends with the connection

    async def publish(self, kind: topics.Uplink, payload: bytes) -> None:
        """Returns once the broker has acknowledged it; unsure of delivery where it raises."""
        await self._acknowledged(topics.uplink(self._path, kind), payload, retain=False)

    async def publish_all(self, kind: topics.Uplink, payloads: Sequence[bytes]) -> None:
        """In order, all in flight together; returns when every one is acknowledged."""
        sends = (self.publish(kind, payload) for payload in payloads)
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def announce(self, state: Literal["online", "offline"]) -> None:
        """The retained status of this session."""
        topic = topics.uplink(self._path, topics.Uplink.STATUS)
        await self._acknowledged(topic, _status(state, self._session), retain=True)

    async def cut(self) -> None:
        """End the connection as a power failure does, without DISCONNECT: the broker publishes the will."""
        connection = self._client._client.socket()  # aiomqtt has no way to leave without a goodbye
        if isinstance(connection, socket.socket):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            await asyncio.wait((self._reader,), timeout=ACK_S)

    async def _acknowledged(self, topic: str, payload: bytes, retain: bool) -> None:
        """aiomqtt would go on waiting for a PUBACK after the connection is gone; its reader knows."""
        send = asyncio.ensure_future(
            self._client.publish(topic, payload, qos=1, retain=retain, timeout=ACK_S)
        )
        try:
            await asyncio.wait((send, self._reader), return_when=asyncio.FIRST_COMPLETED)
            if not send.done():
                raise BrokerAway(f"{self._path}: disconnected before the PUBACK")
            await send
        except aiomqtt.MqttError as error:
            raise BrokerAway(f"{self._path}: {error}") from error
        finally:
            send.cancel()


@asynccontextmanager
async def connected(
    login: Login, session: int, on_downlink: Downlink | None = None, window: int = 100
) -> AsyncIterator[DeviceConnection]:
    """One session of the device whose path is `login.username`, born and with a will that names it.

    `on_downlink` is called with the topic's last level (`receipt`, `error`) and the payload; `window` is the
    number of publishes in flight. Leaving by an exception cuts the connection; leaving as usual does not say
    `offline`. Raises `BrokerAway` where the broker refuses or cannot be reached.
    """
    path = login.username
    client = _client(login, session, window)
    try:
        await enter(client)
    except aiomqtt.MqttError as error:
        raise BrokerAway(f"{path}: {error}") from error
    reader = asyncio.create_task(_read(client, on_downlink), name=f"downlinks-{path}")
    try:
        connection = DeviceConnection(client, path, session, reader)
        await _subscribe(client, path)
        await connection.announce("online")
        try:
            yield connection
        except BaseException:
            await connection.cut()
            raise
    finally:
        await leave(client)
        reader.cancel()
        await asyncio.wait((reader,))


def _client(login: Login, session: int, window: int) -> aiomqtt.Client:
    status = topics.uplink(login.username, topics.Uplink.STATUS)
    client = aiomqtt.Client(
        hostname=login.host,
        port=login.port,
        username=login.username,
        password=login.password,
        identifier=login.username.replace("/", "-"),
        protocol=aiomqtt.ProtocolVersion.V5 if login.version == "5" else aiomqtt.ProtocolVersion.V311,
        will=aiomqtt.Will(status, _status("offline", session), qos=1, retain=True),
        timeout=ACK_S,
        max_inflight_messages=window,
    )
    client.pending_calls_threshold = 10 * window  # it warns of every publish beyond
    return client


async def _subscribe(client: aiomqtt.Client, path: str) -> None:
    try:
        await client.subscribe([(topics.receipt(path), 1), (topics.error(path), 1)])
    except aiomqtt.MqttError as error:
        raise BrokerAway(f"{path}: {error}") from error


async def _read(client: aiomqtt.Client, on_downlink: Downlink | None) -> None:
    with suppress(aiomqtt.MqttError):
        async for message in client.messages:
            if on_downlink and isinstance(message.payload, bytes):
                on_downlink(str(message.topic).rpartition("/")[2], message.payload)


def _status(state: str, session: int) -> bytes:
    return msgspec.json.encode({"state": state, "session": session})
