"""Times as devices send them: told apart by magnitude, read with their zone, believed within bounds."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.refusal import Refusal
from core.timestamps import EARLIEST_MS, LEAD_MS, Stamp, iso, stamp, to_ms

NOW = 1_795_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# Each unit's own span of numbers: s below 1e11, ms below 1e14, µs below 1e17, ns below 2^63.
MILLIS = st.integers(10**11, 9_223_372_036_853)


@given(ms=MILLIS, below=st.integers(0, 999))
def test_every_unit_gives_the_same_time(ms: int, below: int) -> None:
    assert to_ms(ms // 1000) == ms // 1000 * 1000
    assert to_ms(ms / 1000) == ms
    assert to_ms(ms) == to_ms(float(ms)) == ms
    assert to_ms(ms * 1000 + below) == ms
    assert to_ms((ms * 1000 + below) * 1000 + below) == ms


@pytest.mark.parametrize(
    ("raw", "ms"),
    [
        (0, 0),
        (10**11 - 1, (10**11 - 1) * 1000),
        (10**11, 10**11),
        (10**14 - 1, 10**14 - 1),
        (10**14, 10**11),
        (10**17 - 1, 10**14 - 1),
        (10**17, 10**11),
        (2**63 - 1, 9_223_372_036_854),
        (-1, -1000),
        (-1.5, -1500),
        (-(10**11), -(10**11)),
        (1795000000.1239, 1_795_000_000_124),
        (5e-324, 0),
        (-0.0, 0),
    ],
)
def test_the_edges_between_units(raw: float, ms: int) -> None:
    assert to_ms(raw) == ms


@given(moment=st.datetimes(timezones=OFFSETS), separator=st.sampled_from("Tt "))
def test_text_is_read_with_its_offset(moment: datetime, separator: str) -> None:
    assert to_ms(moment.isoformat(sep=separator)) == (moment - EPOCH) // timedelta(milliseconds=1)


@given(st.integers(EARLIEST_MS, 253_402_300_799_999))
def test_a_time_written_by_us_is_read_back(ms: int) -> None:
    assert to_ms(iso(ms)) == ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-22T12:00:00Z", 1_795_348_800_000),
        ("2026-11-22T12:00:00z", 1_795_348_800_000),
        ("2026-11-22T13:30:00+01:30", 1_795_348_800_000),
        ("2026-11-22T12:00:00-00:00", 1_795_348_800_000),
        ("2026-11-22T12:00:00.1Z", 1_795_348_800_100),
        ("2026-11-22T12:00:00.123456789Z", 1_795_348_800_123),
        ("1969-12-31T23:59:59.5Z", -500),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139_000),
    ],
)
def test_text(text: str, ms: int) -> None:
    assert to_ms(text) == ms


@pytest.mark.parametrize(
    "raw",
    [
        *(True, False, [], {}, [[1]], 2**63, -(2**63), 10**400, 1e19, float("1e308")),
        *("", "now", "1795000000", "2026-11-22", "2026-11-22T12:00Z", "2026-11-22T24:00:00Z"),
        *("2026-02-30T00:00:00Z", "2026-11-22T12:00:00+24:00", "2026-11-22T12:00:00,5Z", "x" * 5000),
        "2016-12-31T23:59:60Z",  # a leap second: no clock that counts epoch seconds can hold it
        *("2026-11-22T12:00:00", "2026-11-22T12:00:00.5"),  # no zone
    ],
)
def test_what_is_no_time_is_refused_in_a_short_message(raw: Any) -> None:
    with pytest.raises(Refusal) as caught:
        to_ms(raw)
    assert caught.value.code == "bad_timestamp"
    assert len(caught.value.detail) < 120


@given(
    st.text(max_size=40) | st.from_regex(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{0,9})?(Z|[+-]\d\d:?\d\d)?")
)
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with suppress(Refusal):
        assert type(to_ms(text)) is int


@pytest.mark.parametrize("ts", [EARLIEST_MS, NOW, NOW + LEAD_MS])
def test_a_clock_within_bounds_is_believed(ts: int) -> None:
    assert stamp(ts, NOW) == Stamp(ts, server=False)


@pytest.mark.parametrize("ts", [0, -1, 946_684_800_000, EARLIEST_MS - 1, NOW + LEAD_MS + 1, 10**14 - 1])
def test_a_clock_out_of_bounds_is_kept_beside_the_servers(ts: int) -> None:
    assert stamp(ts, NOW) == Stamp(NOW, server=True, device_ts=to_ms(ts))


def test_no_clock_at_all() -> None:
    assert stamp(None, NOW) == Stamp(NOW, server=True)


def test_iso() -> None:
    assert iso(1_795_348_800_007) == "2026-11-22T12:00:00.007Z"
    assert iso(-1) == "1969-12-31T23:59:59.999Z"
