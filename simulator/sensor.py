"""One simulated device on the broker: sends its messages at their times, and again where it is unsure."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress

import msgspec
import structlog

from broker.device import DeviceConnection, connected
from broker.login import BrokerAway, Login
from simulator.messages import Message, Pause
from simulator.tally import Tally

log = structlog.get_logger()

LATE_S = 2.0
RETRY_S = 1.0
RECEIPTS_S = 5.0  # how long a device that is done waits for its last receipt


class Sensor:
    """`agenda` in the order of its times (s since 1970); the sensor is done when it ends."""

    def __init__(self, login: Login, agenda: Iterator[Message | Pause], tally: Tally) -> None:
        self._login = login
        self._agenda = agenda
        self._tally = tally
        self._next = next(agenda, None)
        self._last_seq = 0
        self._settled_to = 0
        self._receipt = asyncio.Event()

    async def run(self) -> None:
        """Comes back after every outage of the broker; what came due meanwhile is then sent late."""
        while self._next is not None:
            try:
                async with connected(self._login, _session(), self._on_downlink) as connection:
                    self._tally.sessions += 1
                    pause = await self._until_pause(connection)
                    await self._leave(connection, pause)
            except BrokerAway as error:
                self._tally.refusals += 1
                log.debug("device_away", device=self._login.username, error=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                await _sleep_until(pause.until if pause else 0.0)

    async def _until_pause(self, connection: DeviceConnection) -> Pause | None:
        """None at the end of the agenda. A message stays the next one until it is acknowledged."""
        while (item := self._next) is not None:
            await _sleep_until(item.at)
            if isinstance(item, Message):
                await self._send(connection, item)
            self._next = next(self._agenda, None)
            if isinstance(item, Pause):
                return item
        await self._receipts()
        return None

    async def _send(self, connection: DeviceConnection, message: Message) -> None:
        is_late = time.time() - message.at > LATE_S
        if is_late and not message.is_dated:
            self._tally.undated += 1
            return
        self._tally.sent += 1
        await connection.publish(message.kind, message.payload)
        self._tally.acked += 1
        self._tally.late += is_late
        self._last_seq = message.seq or self._last_seq
        self._tally.kinds["repeat" if message.is_repeat else message.kind] += 1

    async def _leave(self, connection: DeviceConnection, pause: Pause | None) -> None:
        if pause and pause.is_cut:
            self._tally.cuts += 1
            await connection.cut()
        else:
            self._tally.goodbyes += 1
            await connection.announce("offline")

    async def _receipts(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(RECEIPTS_S):
                while self._settled_to < self._last_seq:
                    self._receipt.clear()
                    await self._receipt.wait()

    def _on_downlink(self, kind: str, payload: bytes) -> None:
        if kind == "error":
            self._tally.errors += 1
            return
        receipt = msgspec.json.decode(payload, type=_Receipt)
        self._tally.receipts[receipt.status] += 1
        self._settled_to = max(self._settled_to, receipt.stored_to or 0)
        self._receipt.set()


class _Receipt(msgspec.Struct):
    status: str
    stored_to: int | None = None


def _session() -> int:
    """Grows from one session to the next, over restarts too."""
    return int(time.time() * 1000)


async def _sleep_until(at: float) -> None:
    if (wait := at - time.time()) > 0:
        await asyncio.sleep(wait)
