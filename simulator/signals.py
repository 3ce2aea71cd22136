"""What sensors measure: signals with the shape of real ones, repeatable from a seed.

A signal is called with the time (s since 1970) and answers its value there. Times may only go forward: noise
and walks draw from a generator, so one seed and one sequence of times give one sequence of values.
"""

import math
from collections.abc import Callable
from random import Random

Signal = Callable[[float], float]

DAY_S = 86_400


class DailyCurve:
    """Warmest at 15:00 UTC, coldest twelve hours earlier, with Gaussian noise on top."""

    def __init__(self, rng: Random, mean: float, swing: float, noise: float) -> None:
        self._rng = rng
        self._mean, self._swing, self._noise = mean, swing, noise

    def __call__(self, at: float) -> float:
        phase = 2 * math.pi * (at % DAY_S / DAY_S - 15 / 24)
        return self._mean + self._swing * math.cos(phase) + self._rng.gauss(0, self._noise)


class RandomWalk:
    """Starts somewhere in `low`…`high` and stays inside; `step` is the deviation after a minute."""

    def __init__(self, rng: Random, low: float, high: float, step: float) -> None:
        self._rng = rng
        self._low, self._high, self._step = low, high, step
        self._value = rng.uniform(low, high)
        self._at: float | None = None

    def __call__(self, at: float) -> float:
        minutes = (at - self._at) / 60 if self._at is not None else 0.0
        self._at = at
        moved = self._value + self._rng.gauss(0, self._step) * math.sqrt(minutes)
        self._value = min(self._high, max(self._low, moved))
        return self._value


class Discharge:
    """A battery's percentage: changed for a new one every `life_s`, at a random phase."""

    def __init__(self, rng: Random, life_s: float) -> None:
        self._life_s = life_s
        self._age_s = rng.random() * life_s

    def __call__(self, at: float) -> float:
        return 100 * (1 - (at + self._age_s) % self._life_s / self._life_s)


class Bursts:
    """Rest at `floor`, now and then a burst to `peak` that dies away: a machine that starts and stops."""

    def __init__(self, rng: Random, floor: float, peak: float, every_s: float, fade_s: float) -> None:
        self._rng = rng
        self._floor, self._peak, self._fade_s = floor, peak, fade_s
        self._every_s = every_s
        self._burst = -math.inf
        self._next: float | None = None

    def __call__(self, at: float) -> float:
        if self._next is None:
            self._next = at + self._rng.expovariate(1 / self._every_s)
        while self._next <= at:
            self._burst = self._next
            self._next += self._rng.expovariate(1 / self._every_s)
        strength = math.exp(-(at - self._burst) / self._fade_s)
        return self._floor * (1 + self._rng.gauss(0, 0.05)) + (self._peak - self._floor) * strength


class Steps:
    """A counter that only grows: `rate` units an hour on average, in whole units."""

    def __init__(self, rng: Random, rate: float) -> None:
        self._rng = rng
        self._rate = rate
        self._count = float(rng.randrange(100_000))
        self._at: float | None = None

    def __call__(self, at: float) -> float:
        hours = (at - self._at) / 3600 if self._at is not None else 0.0
        self._at = at
        self._count += self._rate * hours * self._rng.uniform(0.5, 1.5)
        return float(int(self._count))
