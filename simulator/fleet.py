"""Many simulated devices in one process: one task and one connection a device."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from random import Random

from broker.login import Login
from simulator.messages import Message, Pause, compose
from simulator.models import build
from simulator.script import Habits, script
from simulator.sensor import Sensor
from simulator.tally import Tally

CONNECTS_PER_S = 200


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where devices connect; `version` of MQTT: 3.1.1 is what every broker and most devices speak."""

    host: str
    port: int
    version: str = "3.1.1"

    def login(self, path: str, secret: str) -> Login:
        return Login(self.host, self.port, path, secret, self.version)


async def run_fleet(
    endpoint: Endpoint,
    credentials: Mapping[str, str],
    habits: Habits,
    tally: Tally,
    seed: int = 0,
    duration_s: float | None = None,
) -> None:
    """`credentials`: path → secret. Ends after `duration_s`, when every message is acknowledged; else never.

    The same seed gives the same devices with the same faults; only the clock differs.
    """
    start = time.time()
    tally.devices = len(credentials)
    try:
        async with asyncio.TaskGroup() as tasks:
            for number, (path, secret) in enumerate(credentials.items()):
                agenda = _agenda(number, seed, start, habits, duration_s)
                sensor = Sensor(endpoint.login(path, secret), agenda, tally)
                tasks.create_task(sensor.run(), name=f"sensor-{path}")
                await asyncio.sleep(1 / CONNECTS_PER_S)
    finally:
        tally.seconds = time.time() - start


def _agenda(
    number: int, seed: int, start: float, habits: Habits, duration_s: float | None
) -> Iterator[Message | Pause]:
    rng = Random(f"{seed}/{number}")
    model = build(number, rng)
    items = compose(model, script(rng, start, habits), boot=start)
    if duration_s is None:
        return items
    end = start + duration_s
    return takewhile(lambda item: item.at < end, items)
