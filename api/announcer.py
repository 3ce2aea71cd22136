"""Telling the world what happened here: other processes, dashboards, the audit.

The change itself is committed by then, so nothing here may fail it. What could not be told is logged whole.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog

from api.clock import ms_of
from broker.login import BrokerAway
from broker.publisher import Publisher
from core import topics
from core.events import DomainEvent, EventKind
from store.audit import Audit
from store.devices import Device
from store.errors import StoreAway
from store.live import Live, event_frame

log = structlog.get_logger()


class Announcer:
    def __init__(self, live: Live, publisher: Publisher, audit: Audit) -> None:
        self._live = live
        self._publisher = publisher
        self._audit = audit

    async def changed(
        self,
        device: Device,
        actor: str,
        action: str,
        at: datetime,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        event: EventKind | None = None,
    ) -> None:
        """After any change to a device; `before` and `after` hold the changed fields only."""
        await self._forget(device.path)
        await self._record(device, actor, action, at, before, after)
        if event:
            await self._announce(DomainEvent(device.org, device.device, event, ms_of(at)))

    async def clear_status(self, device: Device) -> None:
        """Takes back the retained birth of a device that is no more; an empty payload does (3.3.1.3)."""
        try:
            topic = topics.uplink(device.path, topics.Uplink.STATUS)
            await self._publisher.publish(topic, b"", retain=True)
        except BrokerAway as error:
            log.warning("status_left", device=device.path, error=str(error))

    async def _forget(self, path: str) -> None:
        try:
            await self._live.device_changed(path)
        except StoreAway as error:
            log.warning("device_change_untold", device=path, error=str(error))

    async def _record(
        self,
        device: Device,
        actor: str,
        action: str,
        at: datetime,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
    ) -> None:
        subject = f"device/{device.device}"
        try:
            await self._audit.record(device.org, actor, action, subject, at, before=before, after=after)
        except StoreAway as error:
            log.error(
                "audit_unwritten",
                org=device.org,
                actor=actor,
                action=action,
                object=subject,
                before=before,
                after=after,
                error=str(error),
            )

    async def _announce(self, event: DomainEvent) -> None:
        try:
            await self._live.announce(event)
        except StoreAway as error:
            log.warning("event_unannounced", event_kind=event.kind, device=event.device, error=str(error))
        try:
            await self._publisher.publish(topics.event(event.org, event.kind), event_frame(event))
        except BrokerAway as error:
            log.warning("event_unpublished", event_kind=event.kind, device=event.device, error=str(error))
