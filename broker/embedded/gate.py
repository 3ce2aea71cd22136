"""Telling the embedded broker, from another process, whom to cut off."""

from broker.gate import GateError
from broker.login import BrokerAway
from broker.publisher import Publisher

EXPEL_TOPIC = "$CONTROL/sluice/expel"  # payload: a user name; from `_control` only


class EmbeddedGate:
    """The `Gate` of this broker, for other processes: `publisher` is logged in as `_control`.

    The broker asks the database at every CONNECT, so there is nothing to tell it but whom to cut.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def admit(self, username: str, secret: str) -> None:  # noqa: ARG002 - the database has the secret
        await self.expel(username)

    async def expel(self, username: str) -> None:
        try:
            await self._publisher.publish(EXPEL_TOPIC, username.encode())
        except BrokerAway as error:
            raise GateError(f"{username} keeps its connection: {error}") from error
