"""Everything of the databases that ingest uses, opened by whoever starts it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from store.dead_letters import DeadLetters
from store.fleet import Fleet
from store.latest import Latest
from store.live import Live
from store.observations import Observations
from store.seen import Seen
from store.sequences import Sequences
from store.status import Statuses
from store.writes import EventLog, Readings


@dataclass(frozen=True, slots=True)
class Stores:
    """`pings`: mongo and redis, each a coroutine function that raises `StoreAway`."""

    telemetry: Readings
    heartbeats: Readings
    events: EventLog
    fleet: Fleet
    dead_letters: DeadLetters
    sequences: Sequences
    observations: Observations
    latest: Latest
    seen: Seen
    live: Live
    statuses: Statuses
    pings: dict[str, Callable[[], Awaitable[None]]]
