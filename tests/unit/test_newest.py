"""The newest value of a key is the one with the greatest time, whatever the order of arrival."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.newest import Newest

READINGS = st.lists(
    st.tuples(
        st.sampled_from(["acme/one", "acme/two"]),
        st.integers(-2, 3),
        st.dictionaries(st.sampled_from("abc"), st.integers(), max_size=3),
    ),
    max_size=20,
)


def naive(readings: list[tuple[str, int, dict[str, int]]]) -> dict[str, dict[str, tuple[int, Any]]]:
    best: dict[str, dict[str, tuple[int, Any]]] = {}
    for device, ts, values in readings:
        known = best.setdefault(device, {})
        for key, value in values.items():
            if key not in known or ts >= known[key][0]:
                known[key] = (ts, value)
    return best


@given(READINGS)
def test_newest_is_the_maximum_by_time(readings: list[tuple[str, int, dict[str, int]]]) -> None:
    newest: Newest[str] = Newest()
    for device, ts, values in readings:
        newest.add(device, ts, values)
    assert len(newest) == len({device for device, _, _ in readings})
    assert newest.take() == naive(readings)
    assert newest.take() == {}


@given(READINGS, READINGS)
def test_what_was_taken_may_be_put_back_behind_newer(
    older: list[tuple[str, int, dict[str, int]]], newer: list[tuple[str, int, dict[str, int]]]
) -> None:
    """As the fan-out does while Redis is away: times decide, so only equal ones see the order."""
    newest: Newest[str] = Newest()
    for device, ts, values in older:
        newest.add(device, ts - 100, values)
    taken = newest.take()
    for device, ts, values in newer:
        newest.add(device, ts, values)
    for device, known in taken.items():
        for key, (ts, value) in known.items():
            newest.add(device, ts, {key: value})
    expected = naive([(device, ts - 100, values) for device, ts, values in older] + newer)
    assert {device: known for device, known in newest.take().items() if known} == {
        device: known for device, known in expected.items() if known
    }
