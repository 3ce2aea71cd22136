"""Spans of listening, merged: apart and in order. `test_jobs_silence.py` has the rules built on them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from core.silence import Span, cutoff, horizon, merge, observed

MOMENTS = st.integers(0, 100)
SPANS = st.lists(st.tuples(MOMENTS, MOMENTS), max_size=10)


@given(SPANS)
def test_merged_spans_are_apart_in_order_and_none_is_empty(spans: list[Span]) -> None:
    merged = merge(spans)
    assert all(start < end for start, end in merged)
    assert all(before[1] < after[0] for before, after in pairwise(merged))
    assert merge(merged) == merged


@given(SPANS, SPANS)
def test_it_does_not_matter_which_ingest_listened(one: list[Span], other: list[Span]) -> None:
    assert merge([*one, *other]) == merge([*other, *one]) == merge([*merge(one), *merge(other)])


def test_touching_spans_are_one() -> None:
    assert merge([(5, 9), (1, 5)]) == [(1, 9)]
    assert merge([(1, 9), (2, 3)]) == [(1, 9)]
    assert merge([(4, 4), (6, 5)]) == []


@given(SPANS, MOMENTS)
def test_time_after_the_horizon_is_not_known(spans: list[Span], later: int) -> None:
    merged = merge(spans)
    end = horizon(merged)
    assert end is None or observed(end + later, merged) == 0


def test_a_limit_of_all_that_was_observed_is_not_exceeded() -> None:
    spans: list[Span] = [(0, 10), (20, 30)]
    assert cutoff(20, spans) is None
    assert cutoff(19, spans) == 1
    assert cutoff(10, spans) == 10
    assert cutoff(9, spans) == 21
