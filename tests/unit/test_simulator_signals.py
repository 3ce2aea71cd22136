"""Signals stay in their ranges and repeat from their seed."""

from collections.abc import Callable
from itertools import pairwise
from random import Random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.signals import DAY_S, Bursts, DailyCurve, Discharge, RandomWalk, Signal, Steps

MAKERS: list[Callable[[Random], Signal]] = [
    lambda rng: DailyCurve(rng, 20, 4, 0.1),
    lambda rng: RandomWalk(rng, 25, 70, 0.4),
    lambda rng: Discharge(rng, 30 * DAY_S),
    lambda rng: Bursts(rng, 0.4, 8, every_s=240, fade_s=40),
    lambda rng: Steps(rng, 1000),
]
MORNING = 1_700_006_400.0  # 2023-11-15T00:00:00Z


@pytest.mark.parametrize("make", MAKERS)
def test_one_seed_gives_one_series(make: Callable[[Random], Signal]) -> None:
    def series(seed: int) -> list[float]:
        signal = make(Random(seed))
        return [signal(MORNING + 10 * step) for step in range(200)]

    assert series(7) == series(7)
    assert series(7) != series(8)


def test_daily_curve_is_warmest_in_the_afternoon() -> None:
    curve = DailyCurve(Random(1), mean=20, swing=4, noise=0.1)
    at_15, at_3 = (mean(curve(MORNING + hour * 3600) for _ in range(50)) for hour in (15, 3))
    assert at_15 == pytest.approx(24, abs=0.1)
    assert at_3 == pytest.approx(16, abs=0.1)


@given(seed=st.integers(), gaps=st.lists(st.floats(0, 1e6), max_size=50))
def test_random_walk_stays_inside(seed: int, gaps: list[float]) -> None:
    walk = RandomWalk(Random(seed), 25, 70, 5)
    at = MORNING
    for gap in gaps:
        at += gap
        assert 25 <= walk(at) <= 70


def test_battery_falls_until_it_is_changed() -> None:
    battery = Discharge(Random(3), life_s=10 * DAY_S)
    levels = [battery(MORNING + hour * 3600) for hour in range(0, 480, 6)]
    assert all(0 < level <= 100 for level in levels)
    rises = [after for before, after in pairwise(levels) if after > before]
    assert len(rises) == 2
    assert min(rises) > 95


def test_bursts_rise_and_fade() -> None:
    vibration = Bursts(Random(5), floor=0.4, peak=8, every_s=240, fade_s=40)
    values = [vibration(MORNING + second) for second in range(7200)]
    assert max(values) > 6
    assert sorted(values)[len(values) // 4] < 1.5


@given(seed=st.integers(), gaps=st.lists(st.floats(0, 1e5), max_size=50))
def test_a_counter_never_goes_back(seed: int, gaps: list[float]) -> None:
    counter = Steps(Random(seed), rate=500)
    values, at = [counter(MORNING)], MORNING
    for gap in gaps:
        at += gap
        values.append(counter(at))
    assert values == sorted(values)
