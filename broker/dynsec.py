"""A running Mosquitto learns who may log in, through the topics of its dynamic-security plugin.

Commands are JSON `{"commands": [{"command", "correlationData", …}]}`, responses `{"responses": [{"command",
"correlationData", "error"?}]}`: mosquitto.org/documentation/dynamic-security. A response goes to the asking
client alone. The plugin writes its whole file at every change, which halts the broker for 5 us a user: half a
second where there are 100,000.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.gate import GateError
from broker.login import BrokerAway, Login
from broker.mosquitto import COMMANDS, DEVICE_ROLE, RESPONSES, is_device
from broker.publisher import Publisher

RETRY_S = 0.1

_EXISTS = "Client already exists"
_UNKNOWN = "Client not found"


@asynccontextmanager
async def connected(login: Login, identifier: str, timeout_s: float = 5.0) -> AsyncIterator["DynsecGate"]:
    """A gate that comes back by itself whenever the broker did.

    `login` is that of `_control`, `identifier` its MQTT client id, another one for each process. A call that
    the broker does not answer within `timeout_s`, because it is away or starts, raises `GateError`.
    """
    answers = _Answers()
    async with Publisher.connected(login, identifier, (RESPONSES,), answers.on_response) as publisher:
        yield DynsecGate(publisher, answers, timeout_s)


class DynsecGate:
    """A `Gate` for Mosquitto."""

    def __init__(self, publisher: Publisher, answers: "_Answers", timeout_s: float) -> None:
        self._publisher = publisher
        self._answers = answers
        self._timeout_s = timeout_s

    async def admit(self, username: str, secret: str) -> None:
        if not is_device(username):
            raise GateError(f"user name {username!r} is not org/device")
        role = {"rolename": DEVICE_ROLE}
        error = await self._ask("createClient", username=username, password=secret, roles=[role])
        if error == _EXISTS:  # the new password cuts the connection, too
            error = await self._ask("setClientPassword", username=username, password=secret)
        if error is not None:
            raise GateError(f"the broker did not admit {username!r}: {error}")

    async def expel(self, username: str) -> None:
        if not is_device(username):
            raise GateError(f"user name {username!r} is not org/device")
        error = await self._ask("deleteClient", username=username)
        if error not in (None, _UNKNOWN):
            raise GateError(f"the broker did not expel {username!r}: {error}")

    async def _ask(self, command: str, **fields: object) -> str | None:
        """The plugin's complaint, or None where it did as told."""
        number, answer = self._answers.expect()
        request = {"command": command, "correlationData": number, **fields}
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._send(json.dumps({"commands": [request]}).encode())
                return await answer
        except TimeoutError:
            raise GateError(f"{command}: no answer from the broker within {self._timeout_s} s") from None
        finally:
            self._answers.forget(number)

    async def _send(self, payload: bytes) -> None:
        """Again until the broker has it: no command does harm twice."""
        while True:
            try:
                return await self._publisher.publish(COMMANDS, payload)
            except BrokerAway:
                await asyncio.sleep(RETRY_S)


class _Answers:
    """Matches responses with those who wait for them, by `correlationData`."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[str | None]] = {}

    def expect(self) -> tuple[str, asyncio.Future[str | None]]:
        number = str(next(self._numbers))
        self._waiting[number] = asyncio.get_running_loop().create_future()
        return number, self._waiting[number]

    def forget(self, number: str) -> None:
        del self._waiting[number]

    def on_response(self, _topic: str, payload: bytes) -> None:
        for response in json.loads(payload)["responses"]:
            answer = self._waiting.get(response.get("correlationData", ""))
            if answer is not None and not answer.done():
                answer.set_result(response.get("error"))
