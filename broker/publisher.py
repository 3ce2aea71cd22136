"""What our own processes publish: receipts, errors, domain events, and what arrives over HTTP.

A `Publisher` keeps one connection through aiomqtt and comes back by itself. Publishing while the broker is
away raises `BrokerAway` at once: whoever publishes decides whether that matters.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiomqtt
import structlog

from broker.login import BrokerAway, Login

log = structlog.get_logger()

RETRY_S = 1.0
_STOP_S = 6.0  # longer than the connecting that a stop may have to wait for


def client(login: Login, identifier: str, timeout_s: float = 5.0) -> aiomqtt.Client:
    protocol = aiomqtt.ProtocolVersion.V5 if login.version == "5" else aiomqtt.ProtocolVersion.V311
    return aiomqtt.Client(
        hostname=login.host,
        port=login.port,
        username=login.username,
        password=login.password,
        identifier=identifier,
        protocol=protocol,
        timeout=timeout_s,
    )


async def enter(client: aiomqtt.Client) -> None:
    """Connects, or leaves no socket behind; cancelled midway it still finishes first."""
    entering = asyncio.ensure_future(client.__aenter__())
    try:
        await asyncio.shield(entering)
    except aiomqtt.MqttError:
        _drop_socket(client)
        raise
    except asyncio.CancelledError:
        await asyncio.wait((entering,))
        if entering.exception() is None:
            await leave(client)
        _drop_socket(client)
        raise


async def leave(client: aiomqtt.Client) -> None:
    """Says goodbye where somebody listens; leaves no socket behind either way."""
    with suppress(aiomqtt.MqttError):
        await client.__aexit__(None, None, None)
    _drop_socket(client)


def _drop_socket(client: aiomqtt.Client) -> None:
    """aiomqtt leaves it open where the broker does not answer, until paho's keep-alive runs out."""
    client._client._sock_close()


class Publisher:
    """Use as `async with Publisher.connected(...)`; `publish` may be called by several tasks at once."""

    def __init__(self, login: Login, identifier: str) -> None:
        self._login = login
        self._identifier = identifier
        self._client: aiomqtt.Client | None = None

    @classmethod
    @asynccontextmanager
    async def connected(
        cls,
        login: Login,
        identifier: str,
        subscriptions: tuple[str, ...] = (),
        on_message: Callable[[str, bytes], None] | None = None,
    ) -> AsyncIterator["Publisher"]:
        """Connects in the background and stays so; messages on `subscriptions` (QoS 0) go to `on_message`."""
        publisher = cls(login, identifier)
        task = asyncio.create_task(publisher._stay(subscriptions, on_message), name=f"mqtt-{identifier}")
        try:
            yield publisher
        finally:
            while not task.done():  # once may not do: aiomqtt waits with `wait_for` (see store.cancellation)
                task.cancel()
                await asyncio.wait([task], timeout=_STOP_S)

    @property
    def is_connected(self) -> bool:
        return self._client is not None

    async def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        """Returns once the broker has it (QoS 1); raises `BrokerAway`."""
        if self._client is None:
            raise BrokerAway(f"not connected to {self._login.host}:{self._login.port}")
        try:
            await self._client.publish(topic, payload, qos=qos, retain=retain)
        except aiomqtt.MqttError as error:
            raise BrokerAway(str(error)) from error

    async def _stay(
        self, subscriptions: tuple[str, ...], on_message: Callable[[str, bytes], None] | None
    ) -> None:
        while True:
            try:
                await self._hold(subscriptions, on_message)
            except aiomqtt.MqttError as error:
                log.warning("broker_away", client=self._identifier, error=str(error))
            await asyncio.sleep(RETRY_S)

    async def _hold(
        self, subscriptions: tuple[str, ...], on_message: Callable[[str, bytes], None] | None
    ) -> None:
        """One connection, until it is lost."""
        connection = client(self._login, self._identifier)
        await enter(connection)
        try:
            for topic_filter in subscriptions:
                await connection.subscribe(topic_filter)
            self._client = connection
            async for message in connection.messages:
                if on_message and isinstance(message.payload, bytes):
                    _hand_over(on_message, str(message.topic), message.payload)
        finally:
            self._client = None
            await leave(connection)


def _hand_over(on_message: Callable[[str, bytes], None], topic: str, payload: bytes) -> None:
    """A fault in the receiver is logged: it must not end the connection that everything else goes through."""
    try:
        on_message(topic, payload)
    except Exception:
        log.exception("message_failed", topic=topic)
