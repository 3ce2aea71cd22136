"""The api's pure rules: times, widths, limits, cursors, fields, metadata, frames."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import buckets, clock, metadata
from api.fanout import AWAY, Viewer, read_frame
from api.paging import cursor, position, select
from api.problems import Invalid
from api.tokens import AccessTokens, TokenError
from core.events import DomainEvent, EventKind
from store.live import event_frame, readings_frame
from store.readings import Span
from store.users import User

DAY = 24 * 3600 * 1000


@given(st.integers(0, 253_402_300_799_999))
def test_a_time_that_was_answered_can_be_asked_for(ms: int) -> None:
    assert clock.parse(clock.rfc3339(datetime.fromtimestamp(ms // 1000, UTC))) == ms // 1000 * 1000


@pytest.mark.parametrize("text", ["", "-1", "1e9", "\uff11", "now", "0000-00-00T00:00:00Z", "9" * 30])
def test_what_is_no_time_is_refused_naming_it(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text[:20]}"):
        clock.parse(text)


def test_a_device_time_without_a_date_stays_a_number() -> None:
    assert clock.device_time(10**17) == 10**17
    assert clock.device_time(0) == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("text", "ms"), [("1s", 1000), ("90s", 90_000), ("5m", 300_000), ("1d", DAY), ("24h", DAY)]
)
def test_widths(text: str, ms: int) -> None:
    assert buckets.width(text) == ms


@pytest.mark.parametrize("text", ["", "0s", "5", "m", "-5m", "1.5h", "2d", "86401s", "5 m", "5M", "05m"])
def test_what_is_no_width_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a width from 1s to 1d"):
        buckets.width(text)


@given(st.integers(0, 10**13), st.integers(1, 400 * DAY), st.integers(1, 448))
def test_the_width_that_is_advised_does_fit(start: int, length: int, columns: int) -> None:
    span = Span(start, start + length)
    try:
        buckets.check_size(span, 1000, columns)
    except ValueError as error:
        advice = str(error).partition("bucket=")[2].split(" ")[0]
        if "would fit" in str(error):
            buckets.check_size(span, buckets.width(advice), columns)
    else:
        assert length / 1000 * columns <= buckets.MAX_CELLS


def test_keys_and_aggregates_lose_doubles_and_keep_their_order() -> None:
    assert buckets.keys("b,a,b") == ["b", "a"]
    assert buckets.aggregates("max,avg,max") == ["max", "avg"]


@given(st.binary(min_size=1, max_size=40))
def test_a_cursor_gives_back_its_position_on_its_own_listing_only(place: bytes) -> None:
    text = cursor("events", place)
    assert position("events", text) == place
    with pytest.raises(Invalid):
        position("devices", text)


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        place = position("events", text)
    except Invalid:
        return
    assert place


def test_fields_are_those_asked_for() -> None:
    assert select("b,a", [{"a": 1, "b": 2, "c": 3}], "abc") == [{"b": 2, "a": 1}]
    with pytest.raises(Invalid, match="'x' is not one of a, b"):
        select("a,x", [], "ab")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_metadata_that_passes_can_be_stored(value: dict[str, Any]) -> None:
    from bson import encode

    try:
        metadata.check(value)
    except ValueError:
        return
    encode(value)


def test_a_frame_is_whole_for_all_and_cut_for_one() -> None:
    raw = readings_frame(5, {"a": (1, {"n": 1.5}), "b": (2, {"n": 2})})
    frame = read_frame(raw)
    assert frame.data(None) == raw
    assert frame.data("b") == readings_frame(5, {"b": (2, {"n": 2})})
    assert frame.data("c") is None
    event = event_frame(DomainEvent("demo", "a", EventKind.ONLINE, 7, {"reason": "birth"}))
    assert (read_frame(event).data("a"), read_frame(event).data("b")) == (event, None)


async def test_a_slow_viewer_keeps_the_newest_and_learns_what_it_missed() -> None:
    viewer = Viewer(size=3)
    frames = [read_frame(readings_frame(n, {})) for n in range(5)]
    assert [viewer.put(frame) for frame in frames] == [0, 0, 0, 1, 1]
    assert await viewer.take(0) == (frames[2:], 2)
    assert await viewer.take(0.001) == ([], 0)
    viewer.put(AWAY)
    assert await viewer.take(0) == ([AWAY], 0)


async def test_a_closed_viewer_does_not_wait() -> None:
    viewer = Viewer()
    viewer.close()
    assert await viewer.take(60) == ([], 0)


def test_tokens_need_a_long_key_and_end() -> None:
    with pytest.raises(ValueError, match="has 5 bytes; HS256 needs at least 32"):
        AccessTokens("short", 900)
    tokens = AccessTokens("k" * 32, 900)
    user = User("id", "demo", "a@b.c", "viewer", "")
    with pytest.raises(TokenError, match="expired"):
        tokens.verify(tokens.issue(user, now=0))
