"""From bytes to readings: what devices send is read as they meant it, and whatever else comes is refused."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import bson
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.payload import (
    LEVELS,
    MAX_BYTES,
    MAX_READINGS,
    READERS,
    Reading,
    StatusReport,
    find_seqs,
    read_event,
    read_heartbeat,
    read_status,
    read_telemetry,
)
from core.refusal import Refusal
from core.topics import Uplink

NOW = 1_795_000_000_000
RESERVED = {"ts", "seq", "values"}

KEYS = st.text(st.characters(exclude_characters=".$\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.booleans() | st.integers(-(2**63), 2**63 - 1) | FLOATS | TEXTS


def objects(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    inner = LEAVES if depth == 1 else LEAVES | objects(depth - 1)
    return st.dictionaries(KEYS, inner, max_size=4)


VALUES = objects(4).filter(lambda values: values and not RESERVED & values.keys())


def refusal(reader: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        reader()
    return caught.value


def telemetry(document: object) -> list[Reading]:
    return read_telemetry(json.dumps(document).encode(), NOW)


# -- round trips ------------------------------------------------------------------------------------------


@given(values=VALUES, ascii_only=st.booleans(), indent=st.none() | st.integers(0, 2))
def test_a_plain_object_is_read_as_it_was_written(
    values: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    payload = json.dumps(values, ensure_ascii=ascii_only, indent=indent).encode()
    assert read_telemetry(payload, NOW) == [Reading(NOW, values, server=True)]


@given(
    values=VALUES,
    ms=st.integers(NOW - 10**11, NOW),
    unit=st.sampled_from([lambda ms: ms / 1000, lambda ms: ms, lambda ms: ms * 1000, lambda ms: ms * 10**6]),
    nested=st.booleans(),
    seq=st.none() | st.integers(0, 2**63 - 1),
)
def test_a_time_in_any_unit_and_a_counter_leave_the_values_alone(
    values: dict[str, Any], ms: int, unit: Callable[[int], float], nested: bool, seq: int | None
) -> None:
    document = {"ts": unit(ms), **({"values": values} if nested else values)}
    if seq is not None:
        document["seq"] = seq
    assert telemetry(document) == [Reading(ms, values, seq=seq)]


@given(st.lists(st.tuples(VALUES, st.integers(NOW - 10**6, NOW)), min_size=1, max_size=5))
def test_an_array_gives_its_readings_in_order(items: list[tuple[dict[str, Any], int]]) -> None:
    document = [{"ts": ts, **values} for values, ts in items]
    assert telemetry(document) == [Reading(ts, values) for values, ts in items]


# -- duplicate keys ---------------------------------------------------------------------------------------
#
# msgspec keeps the last of two equal keys without a word. Counting colons finds that out cheaply; the oracle
# is json.loads with every object's pairs before it.

CHARS = st.sampled_from([*"ab:,{}", '\\"', "\\\\", "\\u0061", "\\u003a", "\\/", "é", "\\u00e9", "😀", " "])
RAW_STRINGS = st.lists(CHARS, min_size=1, max_size=4).map(lambda chars: f'"{"".join(chars)}"')
RAW_KEYS = RAW_STRINGS | st.sampled_from(
    ['"ts"', '"\\u0074s"', '"seq"', '"values"', '"v\\u0061lues"', '"a"', '"\\u0061"', '"a:"', '":"']
)
RAW_TIMES = st.sampled_from(
    ["1795000000", '"2026-11-22T12:00:00Z"', '"2026-11-22T12\\u003a00:00+01:00"', "null"]
)
RAW_SCALARS = st.sampled_from(["1", "-2.5", "true", "1e3", "18446744073709551616"]) | RAW_STRINGS
COLONS = st.sampled_from([":", " : ", ":\n"])


def raw_object(keys: st.SearchStrategy[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(keys, COLONS, values).map("".join)
    return st.lists(pairs, min_size=1, max_size=4).map(lambda pairs: f"{{{','.join(pairs)}}}")


def raw_objects(depth: int) -> st.SearchStrategy[str]:
    inner = RAW_SCALARS | RAW_TIMES
    return raw_object(RAW_KEYS, inner if depth == 1 else inner | raw_objects(depth - 1))


RAW_ITEMS = raw_objects(3)
RAW_DOCUMENTS = RAW_ITEMS | st.lists(RAW_ITEMS, min_size=1, max_size=3).map(
    lambda items: f"[{','.join(items)}]"
)
EVENT_KEYS = st.sampled_from(
    ['"ts"', '"seq"', '"level"', '"l\\u0065vel"', '"code"', '"message"', '"data"', '"d\\u0061ta"']
)
RAW_EVENTS = raw_object(
    EVENT_KEYS, st.sampled_from(['"info"', '"a:b"', "1", "null"]) | raw_objects(2) | RAW_TIMES | RAW_SCALARS
)
RAW_STATUSES = raw_object(
    st.sampled_from(['"state"', '"st\\u0061te"', '"session"', '"x"']),
    st.sampled_from(['"online"', '"offline"', "1", "null", '"a:b"', "[{}]"]) | raw_objects(2),
)


def has_duplicate(text: str) -> bool:
    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        keys = [key for key, _ in pairs]
        found = found or len(set(keys)) < len(keys)

    json.loads(text, object_pairs_hook=look)
    return found


def assert_duplicates_are_refused(text: str, read: Callable[[bytes], object]) -> None:
    try:
        read(text.encode())
    except Refusal as refused:
        is_told = refused.code == "duplicate_key"
        assert has_duplicate(text) or not is_told, text
    else:
        assert not has_duplicate(text), text


@settings(max_examples=400)
@given(RAW_DOCUMENTS)
@example('{"a":1,"a":1}')
@example('{"a":"x:y","a":1}')
@example('{"a:":1,"a:":"::"}')
@example('{"a":{"b:c":1,"b:c":2}}')
@example('{"ts":null,"ts":1795000000,"a":1}')
@example('{"ts":1795000000,"ts":null,"a:":1}')
@example('{"ts":null,"seq":null,"a":1,"a":2}')
@example('{"values":1,"values":{"a":1}}')
@example('{"ts":"2026-11-22T12:00:00Z","ts":1795000000,"a":1}')
@example('{"ts":"2026-11-22T12:00:00Z","a":1,"a":1}')
@example('[{"a":1},{"a":1,"b":":","b":1}]')
@example('{"\\u0061":1,"a":2}')
@example('{"a":"\\u003a","b":1,"b":2}')
def test_a_duplicate_key_is_always_found_and_never_made_up(text: str) -> None:
    assert_duplicates_are_refused(text, lambda payload: read_telemetry(payload, NOW))
    assert_duplicates_are_refused(text, lambda payload: read_heartbeat(payload, NOW))


@settings(max_examples=200)
@given(RAW_EVENTS)
@example('{"level":"info","level":"info","code":"a"}')
@example('{"code":"a","code":"b"}')
@example('{"code":"a:","data":{"a":1,"a":2}}')
@example('{"ts":null,"code":"a","code":"a"}')
def test_nor_in_an_event(text: str) -> None:
    assert_duplicates_are_refused(text, lambda payload: read_event(payload, NOW))


@settings(max_examples=200)
@given(RAW_STATUSES)
@example('{"state":"offline","state":"online"}')
@example('{"state":"online","x":[{"a":1,"a":1}]}')
def test_nor_in_a_status(text: str) -> None:
    assert_duplicates_are_refused(text, read_status)


ENVELOPES = st.fixed_dictionaries(
    {}, optional={"ts": st.sampled_from([NOW, "2026-11-18T11:06:40Z"]), "seq": st.integers(0, 9)}
)


@settings(max_examples=200)
@given(envelope=ENVELOPES, values=VALUES, nested=st.booleans(), twice=st.data())
def test_one_key_said_twice_is_enough(
    envelope: dict[str, Any], values: dict[str, Any], nested: bool, twice: st.DataObject
) -> None:
    """Written by json.dumps, with one pair of one object repeated anywhere in it."""
    document = {**envelope, **({"values": values} if nested else values)}
    target = twice.draw(st.sampled_from(list(_objects_in(document))))
    key = twice.draw(st.sampled_from(list(target)))
    text = _dump(document, id(target), key, twice.draw(st.booleans()))
    assert refusal(lambda: read_telemetry(text.encode(), NOW)).code == "duplicate_key"


def _objects_in(values: dict[str, Any]) -> list[dict[str, Any]]:
    inner = [found for value in values.values() if type(value) is dict for found in _objects_in(value)]
    return [values, *inner] if values else inner


def _dump(value: object, target: int, twice: str, ascii_only: bool) -> str:
    if type(value) is not dict:
        return json.dumps(value, ensure_ascii=ascii_only)
    pairs = []
    for key, inner in value.items():
        pair = f"{json.dumps(key, ensure_ascii=ascii_only)}:{_dump(inner, target, twice, ascii_only)}"
        pairs += [pair, pair] if id(value) == target and key == twice else [pair]
    return f"{{{','.join(pairs)}}}"


# -- whatever comes ---------------------------------------------------------------------------------------

ANY_JSON = st.recursive(
    st.none() | LEAVES | st.integers(-(10**400), 10**400),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*RESERVED, "state", "level", "code", "data"]) | TEXTS, inner, max_size=4
        )
    ),
    max_leaves=12,
).map(lambda document: json.dumps(document).encode())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    payload = bytearray(draw(ANY_JSON | RAW_DOCUMENTS.map(str.encode) | RAW_EVENTS.map(str.encode)))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(payload) - 1))
        payload[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
        if not payload:
            break
    return bytes(payload)


def assert_read_or_refused(payload: bytes) -> None:
    find_seqs(payload)
    for reader in (*READERS.values(), lambda payload, _: [read_status(payload)]):
        try:
            readings = reader(payload, NOW)
        except Refusal as refused:
            told = f"{refused.detail}{refused.hint}"
            assert len(told.encode()) < 8 * 1024
            continue
        for reading in readings:
            document = msgspec.to_builtins(reading)
            assert bson.decode(bson.encode(document)) == document
            assert msgspec.json.decode(msgspec.json.encode(reading), type=type(reading)) == reading


@settings(max_examples=300)
@given(st.binary(max_size=60) | damaged())
def test_any_bytes_are_read_or_refused_and_what_is_read_can_be_stored(payload: bytes) -> None:
    assert_read_or_refused(payload)


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b" ", b"\0", b"\xff", b"\xef\xbb\xbf{}", b'{"a":1}\0', '{"a":1}'.encode("utf-16")),
        *(b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1e400}', b"{'a':1}", b'{"a":1,}'),
        *(b'{"a":"\\ud800"}', b'{"\\udc00":1}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\x80"}', b'{"a":"\t"}'),
        b'{"a":' + b"9" * 4300 + b"}",
        b'{"a":' + b"9" * 4301 + b"}",
        b'{"ts":' + b"9" * 4300 + b',"a":1}',
        b'{"seq":-' + b"9" * 4300 + b',"a":1}',
        b'{"' + b"k" * 200_000 + b'":null}',
        b'{"code":"x","' + b"k" * 200_000 + b'":1}',
        b'{"values":{"a":1},"' + b"k" * 200_000 + b'":1}',
        b'{"ts":"' + b":" * 200_000 + b'","a":1}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
    ],
)
def test_awkward_bytes_are_refused(payload: bytes) -> None:
    assert_read_or_refused(payload)
    for reader in (read_telemetry, read_event):
        refusal(lambda reader=reader: reader(payload, NOW))


@pytest.mark.parametrize(("opening", "closing"), ["[]", ('{"a":', "}")])
@pytest.mark.parametrize("place", ["a", "ts", "seq", "state", "level", 'state":"online","x'])
def test_no_depth_at_all_breaks_a_reader(opening: str, closing: str, place: str) -> None:
    for depth in range(850, 1010):  # about where Python's own limit lies, for whichever parser hits it first
        assert_read_or_refused(f'{{"{place}":{opening * depth}1{closing * depth}}}'.encode())


# -- limits, at the exact edge ----------------------------------------------------------------------------


def test_bytes_in_a_message() -> None:
    payload = b'{"a":1}' + b" " * (MAX_BYTES - 7)
    assert read_telemetry(payload, NOW) == [Reading(NOW, {"a": 1}, server=True)]
    told = refusal(lambda: read_telemetry(payload + b" ", NOW))
    assert (told.code, told.detail) == ("too_large", "262145 bytes; the limit is 262144")


def test_readings_in_a_message() -> None:
    assert len(telemetry([{"a": 1}] * MAX_READINGS)) == 1000
    told = refusal(lambda: telemetry([{"a": 1}] * (MAX_READINGS + 1)))
    assert told.code == "too_many_readings"
    assert told.detail == "1001 readings in one message; the limit is 1000"


@pytest.mark.parametrize("extra", [{}, {"ts": NOW}, {"seq": 1}])
def test_the_keys_of_the_envelope_are_not_counted(extra: dict[str, Any]) -> None:
    values = {f"k{n}": n for n in range(256)}
    assert telemetry({**extra, **values})[0].values == values
    assert telemetry({**extra, "values": values})[0].values == values
    assert refusal(lambda: telemetry({**extra, "values": {**values, "more": 1}})).code == "too_many_keys"


@pytest.mark.parametrize("seq", [0, 2**63 - 1])
def test_a_counter_within_64_bits(seq: int) -> None:
    assert telemetry({"seq": seq, "a": 1})[0].seq == seq
    assert read_status(json.dumps({"state": "online", "session": seq}).encode()).session == seq


@pytest.mark.parametrize("seq", [-1, 2**63, 1.0, "1", True, [1], {"a": 1}])
def test_what_is_no_counter(seq: object) -> None:
    assert refusal(lambda: telemetry({"seq": seq, "a": 1})).code == "bad_value"
    payload = json.dumps({"state": "online", "session": seq}).encode()
    assert refusal(lambda: read_status(payload)).code == "bad_value"


# -- shapes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "code"),
    [
        *((document, "bad_shape") for document in (None, True, 1, "x", [1], [[{"a": 1}]], [{"a": 1}, None])),
        ({"values": {"a": 1}, "b": 2}, "bad_shape"),
        *((document, "empty") for document in ({}, [], {"ts": NOW}, {"values": {}}, [{"a": 1}, {}])),
        ({"values": None}, "bad_value"),
        ({"values": [1]}, "bad_value"),
        ({"ts": [], "a": 1}, "bad_timestamp"),
    ],
)
def test_one_bad_reading_refuses_the_message(document: object, code: str) -> None:
    assert refusal(lambda: telemetry(document)).code == code


def test_values_that_is_no_object_is_a_key_like_any_other() -> None:
    assert telemetry({"values": 5, "a": 1}) == [Reading(NOW, {"values": 5, "a": 1}, server=True)]


def test_a_null_time_or_counter_is_none() -> None:
    assert telemetry({"ts": None, "seq": None, "a": 1}) == [Reading(NOW, {"a": 1}, server=True)]


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"values":{}}'])
def test_a_heartbeat_may_say_nothing(payload: bytes) -> None:
    assert read_heartbeat(payload, NOW) == [Reading(NOW, {}, server=True)]


@pytest.mark.parametrize("payload", [b"[]", b"1", b'[{"battery":1}]'])
def test_a_heartbeat_is_one_object(payload: bytes) -> None:
    assert refusal(lambda: read_heartbeat(payload, NOW)).code == "bad_shape"


@given(level=st.none() | st.sampled_from(LEVELS), code=TEXTS, data=st.none() | objects(3))
def test_an_event_is_info_unless_it_says(level: str | None, code: str, data: dict[str, Any] | None) -> None:
    event = {"level": level, "code": code, "data": data}
    document = {key: value for key, value in event.items() if value is not None}
    expected = [Reading(NOW, {"level": "info", **document}, server=True)]
    assert read_event(json.dumps(document).encode(), NOW) == expected


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ([{"code": "a"}], "bad_shape"),
        ({"level": "info"}, "empty"),
        ({"code": "a", "level": "warn"}, "bad_value"),
        ({"code": "a", "level": None}, "bad_value"),
        ({"code": "a", "level": ["info"]}, "bad_value"),
        ({"code": 42}, "bad_value"),
        ({"message": None}, "bad_value"),
        ({"code": "a", "data": "text"}, "bad_value"),
        ({"code": "a", "data": {"a": None}}, "bad_value"),
        ({"code": "a", "severity": "high"}, "bad_key"),
        ({"code": "a", "values": {"a": 1}}, "bad_key"),
        ({"message": "x" * 1025}, "string_too_long"),
    ],
)
def test_what_is_no_event(document: object, code: str) -> None:
    assert refusal(lambda: read_event(json.dumps(document).encode(), NOW)).code == code


@pytest.mark.parametrize(
    ("payload", "report"),
    [
        (b'{"state":"online"}', StatusReport(online=True)),
        (b'{"state":"offline","session":7}', StatusReport(online=False, session=7)),
        (b'{"state":"online","session":null,"firmware":"1.2"}', StatusReport(online=True)),
    ],
)
def test_a_status(payload: bytes, report: StatusReport) -> None:
    assert read_status(payload) == report


@pytest.mark.parametrize("payload", [b"", b'"online"', b"{}", b'{"state":"ONLINE"}', b'{"state":["online"]}'])
def test_what_is_no_status(payload: bytes) -> None:
    refusal(lambda: read_status(payload))


@given(st.lists(st.none() | st.integers(0, 2**63 - 1), min_size=1, max_size=4))
def test_the_counters_of_a_refused_message_are_found(seqs: list[int | None]) -> None:
    document = [{"seq": seq, "bad.key": [None]} for seq in seqs]
    found = [seq for seq in seqs if seq is not None]
    assert find_seqs(json.dumps(document).encode()) == found


@given(damaged())
def test_counters_are_found_wherever_readings_are_counted(payload: bytes) -> None:
    with suppress(Refusal):
        counted = [reading.seq for reading in read_telemetry(payload, NOW) if reading.seq is not None]
        assert b'"seq"' not in payload or find_seqs(payload) == counted


def test_every_uplink_but_the_status_has_a_reader() -> None:
    assert READERS.keys() == set(Uplink) - {Uplink.STATUS, Uplink.STATE, Uplink.RESULT}
