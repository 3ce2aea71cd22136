"""Prometheus metrics, read from the ledger when they are asked for: the hot path counts only once."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.ledger import Ledger
from ingest.intake import Intake
from ingest.spool import Spool
from ingest.work import Work
from store.writes import Fate


class Accounts(Collector):
    """The ledger: received = stored + merged + dead + in flight, at every scrape."""

    def __init__(self, ledger: Ledger, intake: Intake, spool: Spool) -> None:
        self._ledger = ledger
        self._intake = intake
        self._spool = spool

    def collect(self) -> Iterator[Metric]:
        ledger = self._ledger
        received = CounterMetricFamily("sluice_ingest_received", "Messages taken from the broker.")
        received.add_metric([], ledger.received)
        yield received
        settled = CounterMetricFamily("sluice_ingest_messages", "Messages settled.", labels=["fate"])
        for fate, count in (("stored", ledger.stored), ("merged", ledger.merged), ("dead", ledger.dead)):
            settled.add_metric([fate], count)
        yield settled
        yield GaugeMetricFamily("sluice_ingest_in_flight", "Messages not settled yet.", ledger.in_flight)
        yield GaugeMetricFamily("sluice_ingest_held", "Messages in memory.", self._intake.held)
        yield GaugeMetricFamily("sluice_ingest_held_bytes", "Payload in memory.", self._intake.held_bytes)
        yield GaugeMetricFamily("sluice_ingest_spooled", "Messages on the disk spool.", len(self._spool))
        yield GaugeMetricFamily("sluice_ingest_spooled_bytes", "Size of the disk spool.", self._spool.bytes)


class ReadingCounts:
    """`sluice_ingest_readings_total{fate}`: a message may hold up to a thousand."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = Counter("sluice_ingest_readings", "Readings settled.", ["fate"], registry=registry)
        self._stored = counter.labels("stored")
        self._merged = counter.labels("merged")

    def add(self, works: Sequence[Work]) -> None:
        fates = [entry.fate for work in works for entry in work.entries]
        self._stored.inc(fates.count(Fate.STORED))
        self._merged.inc(fates.count(Fate.MERGED))
