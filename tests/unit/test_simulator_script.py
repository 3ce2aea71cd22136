"""What a simulated device does and says, from a fixed seed and without a clock."""

from collections import Counter
from itertools import islice, takewhile
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.payload import READERS
from core.topics import Uplink
from simulator.messages import Message, Pause, compose
from simulator.models import build
from simulator.script import Act, Habits, Step, script

START = 1_795_000_000.0
LIVELY = Habits(
    read_every_s=2, heartbeat_every_s=20, event_every_s=60, pause_every_s=120, pause_s=10, repeat=0.05
)


def hours(seed: int, count: float, habits: Habits = LIVELY) -> list[Step]:
    return list(takewhile(lambda step: step.at < START + 3600 * count, script(Random(seed), START, habits)))


@given(seed=st.integers())
def test_steps_come_in_the_order_of_their_times(seed: int) -> None:
    times = [step.at for step in islice(script(Random(seed), START, LIVELY), 500)]
    assert times == sorted(times)
    assert times[0] == START


def test_the_same_seed_gives_the_same_script() -> None:
    assert hours(4, 1) == hours(4, 1)
    assert hours(4, 1) != hours(5, 1)


def test_habits_are_kept_on_average() -> None:
    acts = Counter(step.act for step in hours(1, 10))
    assert acts[Act.READ] == pytest.approx(18_000, rel=0.02)
    assert acts[Act.HEARTBEAT] == pytest.approx(1_800, rel=0.02)
    assert acts[Act.EVENT] == pytest.approx(600, rel=0.2)
    assert acts[Act.LEAVE] + acts[Act.CUT] == pytest.approx(300, rel=0.3)
    assert acts[Act.REPEAT] == pytest.approx(900, rel=0.2)


def test_a_steady_device_only_reads_and_beats() -> None:
    steady = Habits(read_every_s=5, event_every_s=0, pause_every_s=0, repeat=0)
    assert {step.act for step in hours(1, 1, steady)} == {Act.READ, Act.HEARTBEAT}


@pytest.mark.parametrize("number", range(16))
def test_every_payload_is_one_that_ingest_takes(number: int) -> None:
    model = build(number, Random(number))
    items = list(compose(model, hours(number, 1), boot=START))
    messages = [item for item in items if isinstance(item, Message)]
    for message in messages:
        (reading,) = READERS[message.kind](message.payload, received_ms=int(message.at * 1000))
        assert reading.ts == int(message.at * 1000)
        assert reading.server is not model.has_clock
        assert reading.seq == message.seq
    pauses = [item for item in items if isinstance(item, Pause)]
    assert {pause.is_cut for pause in pauses} == {True, False}
    assert all(pause.until > pause.at for pause in pauses)


def test_a_repeat_is_byte_for_byte_the_reading_before_it() -> None:
    items = compose(build(0, Random(0)), hours(2, 1), boot=START)
    readings = [item for item in items if isinstance(item, Message) and item.kind is Uplink.TELEMETRY]
    repeats = [number for number, item in enumerate(readings) if item.is_repeat]
    assert repeats
    assert all(readings[number].payload == readings[number - 1].payload for number in repeats)


def test_readings_are_counted_from_one_without_a_gap() -> None:
    items = compose(build(3, Random(0)), hours(2, 0.2), boot=START)
    seqs = [item.seq for item in items if isinstance(item, Message) and item.seq and not item.is_repeat]
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_low_battery_is_told() -> None:
    model = build(0, Random(0))
    levels = {}
    for step in (Step(START + day * 86_400, act) for day in range(500) for act in (Act.HEARTBEAT, Act.EVENT)):
        for item in compose(model, [step], boot=START):
            assert isinstance(item, Message)
            body = msgspec.json.decode(item.payload)
            if item.kind is Uplink.HEARTBEAT:
                levels[item.at] = body["battery"]
            else:
                assert (body["code"] == "BATTERY_LOW") == (levels[item.at] < 20)
    assert min(levels.values()) < 20 < max(levels.values())
