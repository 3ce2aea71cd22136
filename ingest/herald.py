"""Domain events go out twice: over MQTT to whoever subscribes to topics, over Redis to our own processes."""

from collections.abc import Sequence

import structlog

from broker.subscriber import Subscriber
from core import topics
from core.events import DomainEvent
from store.errors import StoreAway
from store.live import Live, event_frame

log = structlog.get_logger()


class Herald:
    """Told after the commit of what they speak of; where nobody can be told they are only logged."""

    def __init__(self, subscriber: Subscriber, live: Live) -> None:
        self._subscriber = subscriber
        self._live = live

    async def announce(self, events: Sequence[DomainEvent]) -> None:
        for event in events:
            self._subscriber.publish(topics.event(event.org, event.kind), event_frame(event))
        try:
            await self._live.announce(*events)
        except StoreAway as error:
            log.warning("events_untold", events=len(events), error=str(error))
