"""Readings that arrive over HTTP take the way of all others: over the broker into ingest, which answers."""

import asyncio
import itertools
from typing import Literal

import msgspec
import structlog

from broker.publisher import Publisher
from core import topics
from core.topics import Uplink

log = structlog.get_logger()


class Outcome(msgspec.Struct, frozen=True):
    """What ingest made of a message; `code`, `detail` and `hint` say why it is dead."""

    status: Literal["stored", "merged", "dead"]
    code: str = ""
    detail: str = ""
    hint: str = ""


class Replies:
    """Joins answers with those who wait for them; `arrived` is the callback of the `Publisher`."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        self._numbers = itertools.count(1)

    @property
    def topic_filter(self) -> str:
        return topics.reply(f"{self.instance}/+")

    def expect(self) -> tuple[str, asyncio.Future[Outcome]]:
        """A new address `{instance}/{request}`, and the future of what is sent there."""
        request = str(next(self._numbers))
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[request] = future
        return f"{self.instance}/{request}", future

    def forget(self, address: str) -> None:
        self._waiting.pop(address.rpartition("/")[2], None)

    def arrived(self, topic: str, payload: bytes) -> None:
        future = self._waiting.get(topic.rpartition("/")[2])
        if future is None or future.done():
            return  # the caller has been told "accepted" by then
        try:
            future.set_result(msgspec.json.decode(payload, type=Outcome))
        except msgspec.DecodeError as error:
            log.error("reply_unreadable", topic=topic, error=str(error))


class Uplinks:
    def __init__(self, publisher: Publisher, replies: Replies, timeout_s: float) -> None:
        self._publisher = publisher
        self._replies = replies
        self._timeout_s = timeout_s

    async def send(self, path: str, kind: Uplink, body: bytes) -> Outcome | None:
        """What became of `body`, or None where that took longer than the time-out: the broker has it then.

        Raises `BrokerAway`: the broker did not confirm it, and it may or may not have it.
        """
        address, outcome = self._replies.expect()
        try:
            await self._publisher.publish(topics.uplink_with_reply(path, kind, address), body)
            async with asyncio.timeout(self._timeout_s):
                return await outcome
        except TimeoutError:
            return None
        finally:
            self._replies.forget(address)
