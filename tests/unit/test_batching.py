"""Batches: nothing lost, nothing out of order, never beyond the bounds, never late."""

from hypothesis import given
from hypothesis import strategies as st

from core.batching import Batcher

SIZE, WEIGHT, AGE = 4, 100, 8.0
ADD = st.integers(0, 150)
STEPS = st.lists(st.tuples(st.integers(0, 5), ADD | st.none()), max_size=60)


@given(STEPS)
def test_every_item_comes_out_once_in_order_and_within_bounds(steps: list[tuple[int, int | None]]) -> None:
    batcher: Batcher[tuple[int, int]] = Batcher(SIZE, WEIGHT, AGE)
    now, added, taken = 0.0, [], []
    for passed, weight in steps:
        now += passed
        if weight is not None:
            added.append((len(added), weight))
            batcher.add(now, added[-1], weight)
        else:
            batch = batcher.take(now)
            assert bool(batch) == (len(added) > len(taken))
            assert len(batch) <= SIZE
            assert len(batch) <= 1 or sum(weight for _, weight in batch) <= WEIGHT
            taken += batch
        held = added[len(taken) :]
        assert len(batcher) == len(held)
        assert batcher.held_weight == sum(weight for _, weight in held)
    while batch := batcher.take(now):
        taken += batch
    assert taken == added


@given(STEPS)
def test_a_batch_is_due_by_size_by_weight_or_by_age(steps: list[tuple[int, int | None]]) -> None:
    batcher: Batcher[int] = Batcher(SIZE, WEIGHT, AGE)
    now, held, since = 0.0, [], 0.0
    for passed, weight in steps:
        now += passed
        if weight is not None:
            since = since if held else now
            held.append(weight)
            batcher.add(now, weight, weight)
        else:
            held, since = held[len(batcher.take(now)) :], now
        wait = batcher.wait(now)
        if not held:
            assert wait is None
        elif len(held) >= SIZE or sum(held) >= WEIGHT:
            assert wait == 0
        else:
            assert wait == max(0, since + AGE - now)


def test_one_item_beyond_the_weight_is_a_batch_of_its_own() -> None:
    batcher: Batcher[str] = Batcher(SIZE, WEIGHT, AGE)
    batcher.add(0, "heavy", 1000)
    batcher.add(0, "light", 1)
    assert batcher.take(0) == ["heavy"]
    assert batcher.take(0) == ["light"]
    assert batcher.take(0) == []


def test_a_late_caller_is_not_told_to_wait_a_negative_time() -> None:
    batcher: Batcher[str] = Batcher(SIZE, WEIGHT, AGE)
    batcher.add(0, "x", 1)
    assert batcher.wait(100) == 0
