"""Telling what jobs changed: to ingest and api, which keep devices in memory, and to dashboards.

The change is committed by then, so nothing here fails it; what could not be told is logged whole.
"""

from typing import Any

import structlog

from broker.login import BrokerAway
from broker.publisher import Publisher
from core import topics
from core.events import DomainEvent
from store.errors import StoreAway
from store.live import Live, event_frame

log = structlog.get_logger()


class Herald:
    def __init__(self, live: Live, publisher: Publisher) -> None:
        self._live = live
        self._publisher = publisher

    async def announce(self, event: DomainEvent) -> None:
        log.info("device_changed", device=f"{event.org}/{event.device}", event_kind=event.kind, **event.data)
        try:
            await self._live.device_changed(f"{event.org}/{event.device}")
            await self._live.announce(event)
        except StoreAway as error:
            log.warning("event_unannounced", **_named(event), error=str(error))
        try:
            await self._publisher.publish(topics.event(event.org, event.kind), event_frame(event))
        except BrokerAway as error:
            log.warning("event_unpublished", **_named(event), error=str(error))


def _named(event: DomainEvent) -> dict[str, Any]:
    return {"event_kind": event.kind, "org": event.org, "device": event.device}
