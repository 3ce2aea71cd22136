"""Receipt windows against a plain set of what was settled: nothing is claimed that is not in it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.sequences import MAX_ISLANDS, Window, settle


def claims(window: Window) -> set[int]:
    spans = ((window.start, window.to), *window.islands)
    return {seq for low, high in spans for seq in range(low, high + 1)}


def assert_in_order(window: Window) -> None:
    spans = ((window.start, window.to), *window.islands)
    assert all(low <= high for low, high in spans)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(spans))
    assert len(window.islands) <= MAX_ISLANDS


def settle_all(seqs: list[int], window: Window | None = None) -> Window:
    for seq in seqs:
        window = settle(window, seq, is_new=True)
    assert window is not None
    return window


@given(st.data())
def test_a_window_never_claims_what_was_not_settled(data: st.DataObject) -> None:
    """Epochs of a device that forgets its counter; within one, messages come in any order, some twice."""
    window: Window | None = None
    for _ in range(data.draw(st.integers(1, 4))):
        first = data.draw(st.integers(0, 400) if window is None else _visible_restarts(window))
        window = settle(window, first, is_new=True)
        assert window == Window(first, first)
        settled = {first}
        for step in data.draw(st.lists(st.integers(-10, 90), max_size=120)):
            seq = max(0, first + step)
            is_told_again = data.draw(st.booleans())  # a repeat that was not recognised as one
            window = settle(window, seq, is_new=seq not in settled or is_told_again)
            settled.add(seq)
            assert claims(window) <= settled
            assert seq in claims(window) or seq < window.start
            assert_in_order(window)


def _visible_restarts(window: Window) -> st.SearchStrategy[int]:
    return st.sampled_from(sorted(claims(window))) | st.integers(0, window.start)


@given(st.permutations(range(2, 40)), st.integers(0, 2**62))
def test_whatever_the_order_all_is_claimed_in_the_end(order: list[int], base: int) -> None:
    assert settle_all([base + 1, *(base + seq for seq in order)]) == Window(base + 1, base + 39)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_settling_again_changes_nothing(seqs: list[int]) -> None:
    window: Window | None = None
    for seq in seqs:
        window = settle(window, seq, is_new=False)
        assert settle(window, seq, is_new=False) is window


def test_a_gap_holds_the_receipt_back_until_it_closes() -> None:
    window = settle_all([1, 2, 4, 5, 7])
    assert window == Window(1, 2, ((4, 5), (7, 7)))
    window = settle(window, 3, is_new=True)
    assert window == Window(1, 5, ((7, 7),))
    assert settle(window, 6, is_new=True) == Window(1, 7)


def test_beyond_the_bound_the_farthest_islands_are_forgotten_and_may_come_again() -> None:
    every_other = list(range(1, 2 * MAX_ISLANDS + 6, 2))
    window = settle_all(every_other)
    assert len(window.islands) == MAX_ISLANDS
    assert claims(window) == set(every_other[: MAX_ISLANDS + 1])
    for seq in range(2, every_other[-1] + 1):
        window = settle(window, seq, is_new=seq % 2 == 0)
    assert window == Window(1, every_other[-1])


@pytest.mark.parametrize("seq", [100, 150, 200, 300, 302])
def test_new_data_under_a_settled_number_starts_the_window_anew(seq: int) -> None:
    assert settle(Window(100, 200, ((300, 302),)), seq, is_new=True) == Window(seq, seq)


def test_new_data_below_the_start_is_a_restart_and_a_repeat_is_none() -> None:
    assert settle(Window(100, 200), 99, is_new=True) == Window(99, 99)
    assert settle(Window(100, 200), 99, is_new=False) == Window(100, 200)
