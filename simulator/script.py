"""What a device does and when: a seeded, endless list of steps, made without a clock.

Readings at a steady pace with some jitter; heartbeats and events; now and then the same reading twice, as
after an acknowledgement that never arrived; and pauses, some with a goodbye, some as if the battery fell out.
What comes due in a pause is done after it, late, with the time at which it was measured.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from random import Random


class Act(IntEnum):
    """In the order in which those due at one time are done."""

    READ = 0
    REPEAT = 1  # the last reading once more
    HEARTBEAT = 2
    EVENT = 3
    LEAVE = 4  # a goodbye, then nothing for `Step.pause_s`
    CUT = 5  # the connection breaks, then nothing for `Step.pause_s`


@dataclass(frozen=True, slots=True, order=True)
class Step:
    at: float
    act: Act
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Habits:
    """Seconds between two of a kind, on average; 0 for never. `repeat`: share of readings sent twice."""

    read_every_s: float = 5.0
    heartbeat_every_s: float = 30.0
    event_every_s: float = 300.0
    pause_every_s: float = 600.0
    pause_s: float = 20.0
    repeat: float = 0.01


def script(rng: Random, start: float, habits: Habits) -> Iterator[Step]:
    """Steps in the order of their times, the first within one interval after `start`."""
    due = [Step(start + rng.random() * habits.read_every_s, Act.READ)]
    for act, every_s in (
        (Act.HEARTBEAT, habits.heartbeat_every_s),
        (Act.EVENT, habits.event_every_s),
        (Act.LEAVE, 2 * habits.pause_every_s),
        (Act.CUT, 2 * habits.pause_every_s),
    ):
        if every_s:
            due.append(_next(rng, start, act, every_s, habits))
    heapq.heapify(due)
    yield Step(start, Act.HEARTBEAT)
    while True:
        step = heapq.heappop(due)
        yield step
        if step.act is Act.READ and rng.random() < habits.repeat:
            yield Step(step.at, Act.REPEAT)
        heapq.heappush(due, _next(rng, step.at + step.pause_s, step.act, _pace(step.act, habits), habits))


def _pace(act: Act, habits: Habits) -> float:
    return {
        Act.READ: habits.read_every_s,
        Act.HEARTBEAT: habits.heartbeat_every_s,
        Act.EVENT: habits.event_every_s,
    }.get(act, 2 * habits.pause_every_s)


def _next(rng: Random, after: float, act: Act, every_s: float, habits: Habits) -> Step:
    """Sensors keep a pace, give or take a twentieth; what befalls a device has no memory."""
    if act in (Act.READ, Act.HEARTBEAT):
        return Step(after + every_s * rng.uniform(0.95, 1.05), act)
    wait = rng.expovariate(1 / every_s)
    if act in (Act.LEAVE, Act.CUT):
        return Step(after + wait, act, pause_s=habits.pause_s * rng.uniform(0.25, 2))
    return Step(after + wait, act)
