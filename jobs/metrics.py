"""What Prometheus is told of jobs."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.outcomes = Counter(
            "sluice_job_runs",
            "Ticks of a job in this process: succeeded, failed, or away (MongoDB could not be reached)",
            ["job", "outcome"],
            registry=registry,
        )
        self.duration_s = Histogram(
            "sluice_job_duration_seconds", "How long a run took", ["job"], registry=registry
        )
        self.last_success = Gauge(
            "sluice_job_last_success_timestamp_seconds",
            "When a run of this process last succeeded",
            ["job"],
            registry=registry,
        )
