"""The rule of observed silence: only time in which somebody listened counts against a device."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.silence import SESSION_S, Span, common, cutoff, horizon, merge, observed

MOMENTS = st.integers(0, 200)
SPANS = st.lists(st.tuples(MOMENTS, MOMENTS), max_size=8).map(merge)


@given(raw=st.lists(st.tuples(MOMENTS, MOMENTS), max_size=8), since=MOMENTS)
def test_observed_is_the_number_of_seconds_that_any_ingest_listened(raw: list[Span], since: int) -> None:
    listened = {second for start, end in raw for second in range(int(start), int(end))}
    assert observed(since, merge(raw)) == sum(second >= since for second in listened)


@given(spans=SPANS, limit=st.integers(1, 200), since=MOMENTS)
def test_cutoff_divides_those_silent_too_long_from_the_others(
    spans: list[Span], limit: int, since: int
) -> None:
    moment = cutoff(limit, spans)
    assert (observed(since, spans) > limit) == (moment is not None and since < moment)


@given(spans=SPANS, limit=st.integers(1, 200), more=st.integers(0, 100))
def test_listening_on_only_moves_the_cutoff_forward(spans: list[Span], limit: int, more: int) -> None:
    before = cutoff(limit, spans)
    end = horizon(spans) or 0
    after = cutoff(limit, merge([*spans, (end, end + more)]))
    assert before is None or (after is not None and after >= before)


def test_an_outage_does_not_count() -> None:
    spans = [(0.0, 100.0), (5000.0, 5050.0)]
    assert observed(90, spans) == 60
    assert cutoff(60, spans) == 90
    assert cutoff(150, spans) is None


@pytest.mark.parametrize(("heard", "is_silent"), [(39.9, True), (40.0, False), (40.1, False)])
def test_silence_of_exactly_the_limit_is_not_too_long(heard: float, is_silent: bool) -> None:
    moment = cutoff(60, [(0.0, 100.0)])
    assert moment == 40
    assert (heard < moment) is is_silent


def test_nothing_observed_condemns_nobody() -> None:
    assert cutoff(1, []) is None
    assert horizon([]) is None
    assert horizon([(0, 5), (8, 9)]) == 9


def test_only_time_counts_in_which_every_ingest_listened() -> None:
    spans = {"one": [(0.0, 100.0), (100.0, 200.0)], "two": [(50.0, 80.0), (90.0, 150.0)]}
    assert common(spans, now=200.0) == [(0.0, 80.0), (90.0, 150.0)]


def test_an_ingest_that_is_gone_for_good_no_longer_counts() -> None:
    spans = {"one": [(0.0, SESSION_S + 200.0)], "gone": [(0.0, 100.0)]}
    assert common(spans, now=SESSION_S + 50.0) == [(0.0, 100.0)]
    assert common(spans, now=SESSION_S + 150.0) == [(0.0, SESSION_S + 200.0)]


@given(spans=st.dictionaries(st.sampled_from("abc"), SPANS.filter(bool), max_size=3))
def test_common_time_is_in_a_span_of_every_ingest_that_had_begun(spans: dict[str, list[Span]]) -> None:
    shared = common(spans, now=200.0)
    begun = {name: own[0][0] for name, own in spans.items()}
    for second in range(200):
        heard = [
            second < begun[name] or any(start <= second < end for start, end in own)
            for name, own in spans.items()
        ]
        anybody = any(start <= second for start in begun.values())
        assert any(start <= second < end for start, end in shared) == (anybody and all(heard))


def test_without_ingests_nothing_was_observed() -> None:
    assert common({}, now=10.0) == []
