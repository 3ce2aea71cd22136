"""The ingest process: its parts wired to each other, and the tasks that run for as long as it does."""

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry

from broker.connection import Subscription
from broker.login import Login
from broker.subscriber import Subscriber
from config.settings import Ingest as IngestSettings
from core import topics
from core.ledger import Ledger
from core.topics import Uplink
from ingest.answers import answers
from ingest.attendance import Attendance
from ingest.directory import Directory
from ingest.fanout import Fanout
from ingest.herald import Herald
from ingest.intake import Intake
from ingest.keeper import Keeper
from ingest.metrics import Accounts, ReadingCounts
from ingest.news import News
from ingest.observer import Observer
from ingest.pipeline import Pipeline, Windows
from ingest.slot import Slot
from ingest.spool import Spool
from ingest.stores import Stores
from ingest.vitals import Vitals
from ingest.work import Work


class Part(Protocol):
    """Runs until cancelled."""

    async def run(self) -> None: ...


class Worker:
    """One ingest. Several may run side by side, each with its own slot."""

    def __init__(
        self, settings: IngestSettings, login: Login, slot: Slot, stores: Stores, spool: Spool
    ) -> None:
        probe_topic = topics.probe(slot.client_id)
        self.ledger = Ledger()
        self.registry = CollectorRegistry()
        self.intake = Intake(
            self.ledger,
            probe_topic,
            settings.window,
            settings.window_bytes,
            settings.batch_size,
            settings.batch_age_s,
            slot.session,
            slot.last_alive(),
        )
        share = settings.share if login.version == "5" else None
        filters = [*topics.uplink_filters(share or None), probe_topic]
        subscription = Subscription(
            slot.client_id,
            filters,
            dropped=slot.earlier_filters(filters),
            receive_maximum=settings.window,
        )
        self.subscriber = Subscriber(login, subscription, self.intake.on_deliveries)
        herald = Herald(self.subscriber, stores.live)
        directory = Directory(stores.fleet, time.monotonic)
        logs = {
            Uplink.TELEMETRY: stores.telemetry,
            Uplink.HEARTBEAT: stores.heartbeats,
            Uplink.EVENT: stores.events,
        }
        self._pipeline = Pipeline(directory, stores.fleet, logs, stores.dead_letters, stores.sequences)
        self._observer = Observer(self.subscriber, stores.observations, slot.client_id, probe_topic)
        self._fanout = Fanout(stores.latest, stores.seen, stores.live, settings.fanout_every_s)
        self._attendance = Attendance(stores.fleet, directory, herald, self._observer, settings.seen_every_s)
        self._news = News(stores.live, directory)
        self._counts = ReadingCounts(self.registry)
        self._keeper = Keeper(
            self.intake,
            self._pipeline,
            spool,
            self.ledger,
            probe_topic,
            settings.batch_size,
            self._on_settled,
            self._observer.prove,
        )
        self.registry.register(Accounts(self.ledger, self.intake, spool))
        self.vitals = Vitals(
            slot, stores.pings, self.subscriber, self.ledger, self.intake, spool, stores.statuses
        )

    async def run(self) -> None:
        """Until cancelled; then what is held is settled or spooled before it returns."""
        async with asyncio.TaskGroup() as connection:
            connection.create_task(self.subscriber.run(), name="subscriber")
            try:
                await self._work()
            finally:
                await self._finish()

    async def _work(self) -> None:
        parts: dict[str, Part] = {
            "keeper": self._keeper,
            "fanout": self._fanout,
            "attendance": self._attendance,
            "observer": self._observer,
            "news": self._news,
            "vitals": self.vitals,
        }
        async with asyncio.TaskGroup() as tasks:
            for name, part in parts.items():
                tasks.create_task(part.run(), name=name)

    async def _finish(self) -> None:
        """The connection is still there for the last acks."""
        self.intake.close()
        await self._keeper.finish()
        await self._fanout.flush()
        await self._attendance.flush()
        await self._attendance.tell()

    def _on_settled(self, works: Sequence[Work], windows: Windows) -> None:
        self._counts.add(works)
        self._fanout.add(works)
        self._attendance.add(works)
        for topic, payload in answers(works, windows):
            self.subscriber.publish(topic, payload)
