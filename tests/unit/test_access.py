"""Who may do what: a device's grants never reach a topic that is not its own, tried one by one."""

from collections.abc import Sequence
from itertools import product

import pytest

from core.access import (
    CONTROL,
    DEVICE_PUBLISHES,
    DEVICE_READS,
    SERVICE,
    may_publish,
    may_receive,
    may_subscribe,
)

ONE = "acme/one"
TAILS = (
    *(tail.replace("+", "7") for tail in (*DEVICE_PUBLISHES, *DEVICE_READS)),
    *("cmd", "cmd/7/8", "telemetry/7", "telemetry/_reply/api/7", "receipt/7", "7"),
)
TOPICS = [
    *(f"v1/{org}/{device}/{tail}" for org in ("acme", "bell") for device in ("one", "two") for tail in TAILS),
    *("v1", "v1/acme", "v1/acme/one", "v1/acme/_events/device.online", "v1/_reply/api/7", "v1/_probe/x"),
    *("v2/acme/one/receipt", "$SYS/broker/uptime", "$CONTROL/dynamic-security/v1", "acme/one/receipt"),
]


def matches(topic_filter: Sequence[str], topic: Sequence[str]) -> bool:
    """Section 4.7 of MQTT, without the rule that spares topics in `$`."""
    if not topic_filter:
        return not topic
    if topic_filter[0] == "#":
        return True
    return bool(topic) and topic_filter[0] in ("+", topic[0]) and matches(topic_filter[1:], topic[1:])


def test_no_filter_that_a_device_is_granted_matches_a_topic_it_may_not_receive() -> None:
    levels = ("v1", "acme", "bell", "one", "cmd", "receipt", "7", "+", "#")
    granted = [
        asked
        for length in range(1, 6)
        for asked in product(levels, repeat=length)
        if may_subscribe(ONE, "/".join(asked))
    ]
    assert {"/".join(asked) for asked in granted} == {
        *("v1/acme/one/receipt", "v1/acme/one/cmd/+"),
        *(f"v1/acme/one/cmd/{level}" for level in levels if level not in ("+", "#")),
    }
    for asked in granted:
        reached = [topic for topic in TOPICS if matches(asked, topic.split("/"))]
        assert all(may_receive(ONE, topic) for topic in reached), asked


@pytest.mark.parametrize("tail", DEVICE_READS)
def test_a_device_reads_its_own_downlinks_and_in_no_shared_group(tail: str) -> None:
    assert may_subscribe(ONE, f"v1/{ONE}/{tail}")
    assert not may_subscribe(ONE, f"$share/crew/v1/{ONE}/{tail}")
    assert not may_subscribe("acme/two", f"v1/{ONE}/{tail}")


def test_a_device_publishes_and_receives_exactly_what_is_listed() -> None:
    published = {topic for topic in TOPICS if may_publish(ONE, topic)}
    received = {topic for topic in TOPICS if may_receive(ONE, topic)}
    assert published == {f"v1/{ONE}/{tail.replace('+', '7')}" for tail in DEVICE_PUBLISHES}
    assert received == {f"v1/{ONE}/{tail.replace('+', '7')}" for tail in DEVICE_READS}


@pytest.mark.parametrize(
    "asked", ["#", "+/#", "$SYS/#", "$SYS/broker/uptime", "v1/#", "v1/acme/one/#", "v1/acme/one/cmd/#", ""]
)
def test_foreign_wildcards_are_refused(asked: str) -> None:
    assert not may_subscribe(ONE, asked)


@pytest.mark.parametrize("name", ["+/+", "+/one", "acme/+", "#", "", "/", "acme", "acme/one/cmd", CONTROL])
def test_a_user_name_that_is_no_device_is_granted_nothing(name: str) -> None:
    assert not any(may_publish(name, topic) or may_receive(name, topic) for topic in TOPICS)
    assert not any(may_subscribe(name, f"v1/{name}/{tail}") for tail in DEVICE_READS)


@pytest.mark.parametrize("asked", ["v1/#", "v1/+/+/telemetry", "$share/crew/v1/+/+/telemetry"])
def test_our_own_processes_use_the_whole_tree(asked: str) -> None:
    assert may_subscribe(SERVICE, asked)


@pytest.mark.parametrize("asked", ["#", "$SYS/#", "$share/crew/#", "$share/crew/$SYS/#", "$share/v1/x", "v1"])
def test_our_own_processes_use_nothing_else(asked: str) -> None:
    assert not may_subscribe(SERVICE, asked)


def test_our_own_processes_send_and_receive_within_the_tree() -> None:
    inside = {topic for topic in TOPICS if topic.startswith("v1/")}
    assert {topic for topic in TOPICS if may_publish(SERVICE, topic)} == inside
    assert {topic for topic in TOPICS if may_receive(SERVICE, topic)} == inside
