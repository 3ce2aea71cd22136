"""Reading recorded series and pacing them."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.payload import read_telemetry
from simulator.replay import ReplayError, due_times, payload, read_series

NAB = Path(__file__).parents[1] / "data" / "nab"


def test_the_machine_file_is_read_whole_with_its_doubles() -> None:
    series = read_series(NAB / "machine_temperature_system_failure.csv")
    assert len(series) == 22_695
    assert series[0] == (datetime(2013, 12, 2, 21, 15, tzinfo=UTC), 73.96732207)
    twice = [at for at, count in Counter(at for at, _ in series).items() if count == 2]
    assert len(twice) == 12
    assert min(twice) == datetime(2014, 1, 7, 2, 0, tzinfo=UTC)
    assert max(twice) == datetime(2014, 1, 7, 2, 55, tzinfo=UTC)


def test_a_row_keeps_its_time_and_every_digit_of_its_value() -> None:
    at, value = datetime(2013, 12, 2, 21, 20, tzinfo=UTC), 74.93588199999998
    (reading,) = read_telemetry(payload(at, value, "temperature"), received_ms=1_700_000_000_000)
    assert reading.ts == 1_386_019_200_000
    assert reading.values == {"temperature": value}


def test_a_zone_in_the_file_is_heeded(tmp_path: Path) -> None:
    file = tmp_path / "zoned.csv"
    file.write_text("timestamp,value\n2020-01-01T01:00:00+01:00,1\n")
    assert read_series(file)[0][0] == datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time,v\n", ":1: the header is"),
        ("", ":1: the header is None"),
        ("timestamp,value\n2020-01-01 00:00:00,1\nyesterday,2\n", ":3: 'yesterday,2'"),
        ("timestamp,value\n2020-01-01 00:00:00\n", ":2: '2020-01-01 00:00:00'"),
    ],
)
def test_a_file_that_is_no_series_names_its_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(ReplayError, match=words):
        read_series(file)


def test_rows_are_due_at_the_recorded_pace_and_a_clock_set_back_waits_for_nothing() -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    series = [(start + timedelta(minutes=minutes), 0.0) for minutes in (0, 5, 10, 0, 5)]
    assert list(due_times(series, 100.0, speed=300)) == [100.0, 101.0, 102.0, 102.0, 103.0]
    assert list(due_times(series, 100.0, speed=0)) == [100.0] * 5
