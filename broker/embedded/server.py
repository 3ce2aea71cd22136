"""The broker for machines without Mosquitto: amqtt's listeners and packets around our own sessions.

What it promises: MQTT 3.1.1 over TCP and WebSocket; QoS 0 and 1 to subscribers, 0 to 2 from publishers; what
was acknowledged to a publisher waits for every persistent session that subscribed, until its PUBACK.
What it does not: it keeps everything in memory, so ending the process loses what waits inside it, retained
messages and sessions included; it knows neither MQTT 5 nor shared subscriptions.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import BrokerError
from websockets.asyncio.server import ServerConnection

from broker.embedded.hub import Hub, Limits
from broker.embedded.link import Authenticator, Link
from broker.embedded.wire import TcpWire, WebSocketWire, Wire

log = structlog.get_logger()


class EmbeddedBrokerError(Exception):
    """The broker cannot listen; the message names the addresses."""


@dataclass(frozen=True, slots=True)
class Ports:
    tcp: int
    ws: int


class _EmbeddedBroker(Broker):  # type: ignore[misc]  # amqtt ships no types
    """amqtt's `Broker` with `Link` and `Hub` in the place of its protocol handler and its broadcast loop."""

    def __init__(self, config: BrokerConfig, authenticate: Authenticator, limits: Limits) -> None:
        super().__init__(config)
        self._authenticator = authenticate
        self._hub = Hub(limits)
        self._links: set[Link] = set()

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        await self._serve(TcpWire(reader, writer), listener_name)

    async def ws_connected(self, websocket: ServerConnection, listener_name: str) -> None:
        await self._serve(WebSocketWire(websocket), listener_name)

    async def _serve(self, wire: Wire, listener: str) -> None:
        link = Link(wire, self._hub, self._authenticator, self.expel)
        self._links.add(link)
        try:
            await link.run()
        except Exception:  # a client must not end up as an unhandled error of the loop
            log.exception("client_failed", username=link.username, listener=listener)
        finally:
            self._links.discard(link)

    def expel(self, username: str) -> None:
        """Cut every connection of `username`, those still logging in too; its will is not published.

        Its sessions stay: after a rotation the device comes back for its messages with the new secret.
        """
        for link in self._links:
            if link.username == username:
                link.cut("expelled", with_will=False)
        log.info("user_expelled", username=username)

    async def leave(self) -> None:
        for server in self._servers.values():
            server.instance.close()  # no newcomers; amqtt closes its listeners last
        await asyncio.gather(*(link.leave("shutdown", with_will=False) for link in self._links))
        await self.shutdown()

    @property
    def ports(self) -> Ports:
        tcp, ws = (self._servers[name].instance.sockets[0].getsockname()[1] for name in ("default", "ws"))
        return Ports(tcp, ws)


@asynccontextmanager
async def serve(
    host: str, port: int, ws_port: int, authenticate: Authenticator, limits: Limits | None = None
) -> AsyncIterator[Ports]:
    """Run the broker for the length of the block; yields the ports it listens on (0 asks for any free one).

    `authenticate` is asked at every CONNECT and nothing is cached; if it raises, the client is told to try
    again (CONNACK 3). Raises `EmbeddedBrokerError`.
    """
    for name in ("amqtt", "transitions", "websockets"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they log each failed handshake with a traceback
    listeners = {
        "default": ListenerConfig(type=ListenerType.TCP, bind=f"{host}:{port}"),
        "ws": ListenerConfig(type=ListenerType.WS, bind=f"{host}:{ws_port}"),
    }
    broker = _EmbeddedBroker(BrokerConfig(listeners=listeners, plugins={}), authenticate, limits or Limits())
    try:
        await broker.start()
    except BrokerError as error:
        raise EmbeddedBrokerError(f"cannot listen on {host}:{port} and {host}:{ws_port}: {error}") from error
    try:
        log.info("broker_started", kind="amqtt", host=host, port=broker.ports.tcp, ws_port=broker.ports.ws)
        yield broker.ports
    finally:
        await broker.leave()
