"""Presence against the truth: a device is there while its newest session has not died."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.payload import StatusReport
from core.presence import Presence, on_heard, on_status


@dataclass
class Sensor:
    """Sessions are born in order; the broker publishes each one's will at any time after its birth."""

    born: int = 0
    undead: set[int] = field(default_factory=set)

    @property
    def is_there(self) -> bool:
        return self.born in self.undead


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 1000))
def test_late_wills_never_hide_a_device_that_is_there(steps: list[int], first: int) -> None:
    sensor, presence = Sensor(born=first), Presence()
    for at, step in enumerate(steps):
        before, was_there = presence, sensor.is_there
        wills = sorted(sensor.undead)
        if step < 2 or not wills:
            sensor.born += 1
            sensor.undead.add(sensor.born)
            presence = on_status(presence, StatusReport(online=True, session=sensor.born), at)
        else:
            session = wills[step % len(wills)]
            sensor.undead.remove(session)
            presence = on_status(presence, StatusReport(online=False, session=session), at)
        assert (presence.state == "online") == sensor.is_there
        assert presence.session == sensor.born
        assert presence.since == (before.since if was_there == sensor.is_there else at)


@given(st.lists(st.booleans() | st.none(), max_size=30))
def test_without_sessions_the_last_word_counts(steps: list[bool | None]) -> None:
    """None: the device was heard."""
    presence, expected = Presence(), "unknown"
    for at, online in enumerate(steps):
        if online is None:
            presence, expected = on_heard(presence, at), "online"
        else:
            presence = on_status(presence, StatusReport(online), at)
            expected = "online" if online else "offline"
        assert presence.state == expected
        assert presence.session is None


STATES = st.builds(
    Presence,
    st.sampled_from(["online", "offline", "unknown"]),
    st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 9),
    st.none() | st.sampled_from(["birth", "will", "heard", "silent"]),
)
REPORTS = st.builds(StatusReport, st.booleans(), st.none() | st.integers(0, 9))


@given(STATES, REPORTS, st.integers(0, 20))
def test_a_report_said_twice_changes_nothing_more(presence: Presence, report: StatusReport, at: int) -> None:
    once = on_status(presence, report, at)
    assert on_status(once, report, at + 1) is once


@given(STATES, st.integers(0, 20))
def test_being_heard_only_ever_brings_online(presence: Presence, at: int) -> None:
    after = on_heard(presence, at)
    assert after is presence or after == Presence("online", at, presence.session, "heard")
    is_news = presence.state != "online" and (presence.since is None or at > presence.since)
    assert (after is not presence) == is_news


@pytest.mark.parametrize("at", [99, 100])
def test_a_message_from_before_the_will_does_not_bring_the_device_back(at: int) -> None:
    gone = Presence("offline", 100, 7, "will")
    assert on_heard(gone, at) is gone
    assert on_heard(gone, 101) == Presence("online", 101, 7, "heard")


def test_a_device_that_was_heard_again_is_safe_from_its_old_will() -> None:
    heard = Presence("online", 100, 7, "heard")
    assert on_status(heard, StatusReport(online=False, session=6), 101) is heard
    assert on_status(heard, StatusReport(online=False, session=7), 101).state == "offline"


def test_a_device_that_forgot_its_sessions_starts_to_count_anew() -> None:
    presence = on_status(Presence("online", 1, 900, "birth"), StatusReport(online=True, session=1), 2)
    assert presence == Presence("online", 1, 1, "birth")
    assert on_status(presence, StatusReport(online=False, session=1), 3).state == "offline"


def test_a_will_without_a_number_is_believed() -> None:
    presence = Presence("online", 1, 900, "birth")
    assert on_status(presence, StatusReport(online=False), 2) == Presence("offline", 2, 900, "will")


@pytest.mark.parametrize(
    ("before", "session", "is_news"),
    [
        (Presence(), 3, True),
        (Presence(), None, True),
        (Presence("offline", 100, 3, "silent"), 3, False),
        (Presence("offline", 100, 3, "silent"), 2, False),
        (Presence("offline", 100, 3, "silent"), None, False),
        (Presence("offline", 100, 3, "silent"), 4, True),
        (Presence("offline", 100, None, "will"), 1, True),
        (Presence("online", 100, 3, "birth"), 3, False),
    ],
)
def test_a_birth_that_the_broker_repeats_to_a_new_subscriber(
    before: Presence, session: int | None, is_news: bool
) -> None:
    after = on_status(before, StatusReport(online=True, session=session), at=500, retained=True)
    assert (after is not before) == is_news
    if is_news:
        assert after == Presence("online", 500, session, "birth")
