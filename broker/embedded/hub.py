"""The embedded broker's memory: sessions, subscriptions, retained messages, and who is handed what.

No I/O and no waiting: a publish is in every outbox it belongs to before its sender can be acknowledged.
(amqtt 0.12.1 acknowledges on arrival and routes later; it also sends retained messages, unasked and
unchecked, to every session that comes back.)
"""

from dataclasses import dataclass, field
from typing import Protocol

import structlog

from broker.embedded.redelivery import Message, Outbox
from broker.embedded.subscriptions import Subscriptions, is_filter
from core.access import SERVICE, may_publish, may_receive, may_subscribe

log = structlog.get_logger()

REFUSED = 0x80  # SUBACK's failure code
MAX_QOS = 1


class QueueFull(Exception):
    """A service's queue is at its limit: the message was not taken and must not be acknowledged."""


class Connection(Protocol):
    """The live end of a session."""

    async def leave(self, reason: str) -> None:
        """Cut the connection; return once its will is out and the session is free."""


@dataclass(eq=False)
class Session:
    """What outlives a connection. It belongs to its user: client ids of two users never meet."""

    username: str
    client_id: str
    outbox: Outbox
    filters: set[str] = field(default_factory=set)
    received: set[int] = field(default_factory=set)  # packet ids of QoS 2 publishes not released yet
    connection: Connection | None = None
    is_full: bool = False  # told in the log, once a connection


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes queued a session, and messages in flight a session.

    At its limit a device's session loses the newest message; a service's session loses none at QoS 1: whoever
    publishes to it is cut before the PUBACK, keeps the message and tries again.
    """

    service_queue: int = 256 * 2**20
    device_queue: int = 2**20
    window: int = 1000


class Hub:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sessions: dict[tuple[str, str], Session] = {}
        self._subscriptions: Subscriptions[Session] = Subscriptions()
        self._retained: dict[str, Message] = {}

    def find(self, username: str, client_id: str) -> Session | None:
        return self._sessions.get((username, client_id))

    def open(self, username: str, client_id: str, clean: bool) -> tuple[Session, bool]:
        """The session to go on with, and whether it was there before."""
        found = self.find(username, client_id)
        if found and clean:
            self.forget(found)
        elif found:
            found.is_full = False
            found.outbox.reopen()
            return found, True
        limit = self._limits.service_queue if username == SERVICE else self._limits.device_queue
        session = Session(username, client_id, Outbox(limit, self._limits.window))
        self._sessions[username, client_id] = session
        return session, False

    def forget(self, session: Session) -> None:
        for topic_filter in session.filters:
            self._subscriptions.discard(topic_filter, session)
        del self._sessions[session.username, session.client_id]

    def publish(self, username: str, message: Message) -> None:
        """Hand `message` to whoever may have it; a topic its user may not publish to is dropped.

        MQTT 3.1.1 has no way to refuse a publish but to cut the connection, so a denied one is acknowledged.
        Raises `QueueFull`.
        """
        if not may_publish(username, message.topic):
            log.debug("publish_denied", username=username, topic=message.topic)
            return
        if message.retain:
            self._retain(message)
        for session, granted in self._subscriptions.matching(message.topic).items():
            self._hand(session, Message(message.topic, message.payload, min(message.qos, granted)))

    def subscribe(self, session: Session, topic_filter: str, qos: int) -> int:
        """The QoS granted, or `REFUSED`. Retained messages that match go to the session's outbox.

        `$share` is refused to services too: amqtt has no shared subscriptions, and a filter that silently
        matched nothing would look like a quiet fleet.
        """
        if (
            not is_filter(topic_filter)
            or topic_filter.startswith("$")
            or not may_subscribe(session.username, topic_filter)
        ):
            log.info("subscribe_denied", username=session.username, filter=topic_filter)
            return REFUSED
        granted = min(qos, MAX_QOS)
        session.filters.add(topic_filter)
        self._subscriptions.add(topic_filter, session, granted)
        return granted

    def replay_retained(self, session: Session, topic_filter: str, qos: int) -> None:
        only: Subscriptions[Session] = Subscriptions()
        only.add(topic_filter, session, qos)
        for message in self._retained.values():
            if only.matching(message.topic):
                self._hand(
                    session, Message(message.topic, message.payload, min(message.qos, qos), retain=True)
                )

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        session.filters.discard(topic_filter)
        self._subscriptions.discard(topic_filter, session)

    def _retain(self, message: Message) -> None:
        if message.payload:
            self._retained[message.topic] = message
        else:
            self._retained.pop(message.topic, None)

    def _hand(self, session: Session, message: Message) -> None:
        if not may_receive(session.username, message.topic):
            return
        if message.qos == 0 and session.connection is None:
            return
        taken = session.outbox.put(message)
        if not taken and not session.is_full:
            log.warning("queue_full", username=session.username, client=session.client_id)
        session.is_full = not taken
        if not taken and message.qos and session.username == SERVICE:
            raise QueueFull(
                f"{session.client_id} holds {len(session.outbox)} messages, the limit of its queue"
            )
