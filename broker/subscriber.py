"""A subscription that outlives its connections: it reconnects and resumes its session."""

import asyncio

import structlog

from broker.connection import Connection, OnDeliveries, Subscription
from broker.login import BrokerAway, Login

log = structlog.get_logger()

FIRST_RETRY_S = 0.2
LAST_RETRY_S = 5.0
_CONNECT_TIMEOUT_S = 10.0


class Subscriber:
    """`run` holds the subscription until it is cancelled; `connection` is the live one, or None."""

    def __init__(self, login: Login, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        self._login = login
        self._subscription = subscription
        self._on_deliveries = on_deliveries
        self.connection: Connection | None = None

    async def run(self) -> None:
        delay = FIRST_RETRY_S
        while True:
            try:
                await self._hold()
                delay = FIRST_RETRY_S
            except (BrokerAway, OSError) as error:  # a time-out is an OSError, mostly without words
                log.warning("broker_away", client=self._subscription.client_id, error=repr(error))
                delay = min(LAST_RETRY_S, delay * 2)
            await asyncio.sleep(delay)

    def publish(self, topic: str, payload: bytes) -> bool:
        """False where nobody is there to take it."""
        return self.connection is not None and self.connection.publish(topic, payload)

    async def _hold(self) -> None:
        """One connection, until it is lost."""
        connection = await self._open()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                resumed = await connection.ready
            self.connection = connection
            log.info("broker_connected", client=self._subscription.client_id, session_resumed=resumed)
            await connection.keep_alive()
            log.warning("broker_lost", client=self._subscription.client_id, error=await connection.lost)
        finally:
            self.connection = None
            connection.close()

    async def _open(self) -> Connection:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self._login, self._subscription, self._on_deliveries),
                self._login.host,
                self._login.port,
            )
        return connection
