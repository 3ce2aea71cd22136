"""From the bytes of a message to its readings. Raises `Refusal` with the first thing that is wrong.

A message is taken whole or not at all: one bad reading refuses the array that it came in, and the original
bytes go to the dead-letter inbox, from where they can be mended and replayed.
"""

import json
from typing import Any

import msgspec

from core.refusal import Refusal, shown
from core.timestamps import stamp
from core.topics import Uplink
from core.values import check_values

MAX_BYTES = 256 * 1024
MAX_READINGS = 1000
LEVELS = ("debug", "info", "warning", "error", "critical")

_decode = msgspec.json.Decoder().decode


class Reading(msgspec.Struct, gc=False):
    """`ts` in ms; `server`: the server's clock gave it, though the device's may have said `device_ts`."""

    ts: int
    values: dict[str, Any]
    server: bool = False
    device_ts: int | None = None
    seq: int | None = None


class StatusReport(msgspec.Struct, frozen=True):
    """A birth (online) or a will (offline) of the device's session number `session`, where it counts them."""

    online: bool
    session: int | None = None


def read_telemetry(payload: bytes, received_ms: int) -> list[Reading]:
    """`{k:v}`, `{"ts":…,k:v}`, `{"ts":…,"values":{…}}`, or an array of any of these."""
    document = _load(payload)
    items = document if type(document) is list else [document]
    if not items:
        raise Refusal("empty", "the array holds no reading")
    if len(items) > MAX_READINGS:
        raise Refusal(
            "too_many_readings", f"{len(items)} readings in one message; the limit is {MAX_READINGS}"
        )
    readings, keys, colons = [], 0, 0
    for item in items:
        reading, weight = _reading(item, received_ms)
        readings.append(reading)
        keys += weight[0]
        colons += weight[1]
    _refuse_duplicate_keys(payload, keys, colons)
    return readings


def read_heartbeat(payload: bytes, received_ms: int) -> list[Reading]:
    """An object such as `{"battery":87,"rssi":-61,"uptime":3600,"firmware":"1.2.0"}`, or nothing at all."""
    if not payload:
        return [Reading(received_ms, {}, server=True)]
    item = _object(_load(payload), "a heartbeat")
    reading, weight = _reading(item, received_ms, may_be_empty=True)
    _refuse_duplicate_keys(payload, *weight)
    return [reading]


def read_event(payload: bytes, received_ms: int) -> list[Reading]:
    """`{"level":"warning","code":"E42","message":"…","data":{…}}`; `level` is info where it is missing."""
    item = _object(_load(payload), "an event")
    unknown = item.keys() - {"ts", "seq", "level", "code", "message", "data"}
    if unknown:
        raise Refusal("bad_key", f"an event has no {shown(min(unknown))}", "put what is your own below data")
    implied = "level" not in item
    item.setdefault("level", "info")
    if item["level"] not in LEVELS:
        raise Refusal("bad_value", f"level {shown(item['level'])} is not one of {', '.join(LEVELS)}")
    for name in ("code", "message"):
        if name in item and type(item[name]) is not str:
            raise Refusal("bad_value", f"{name} is not a string")
    if "code" not in item and "message" not in item:
        raise Refusal("empty", "an event carries a code or a message")
    if type(item.get("data", {})) is not dict:
        raise Refusal("bad_value", "data is not an object")
    reading, weight = _reading(item, received_ms)
    _refuse_duplicate_keys(payload, weight[0] - implied, weight[1])
    return [reading]


def read_status(payload: bytes) -> StatusReport:
    """`{"state":"online"|"offline","session":n}`."""
    item = _object(_load(payload), "a status")
    _parse_unique(payload)
    if item.get("state") not in ("online", "offline"):
        raise Refusal("bad_value", f"state {shown(item.get('state'))} is neither 'online' nor 'offline'")
    return StatusReport(item["state"] == "online", _counter(item.get("session"), "session"))


def find_seqs(payload: bytes) -> list[int]:
    """The counters in a payload that was refused, as far as they can be made out: it wants a receipt too."""
    if b'"seq"' not in payload:
        return []
    try:
        document = _load(payload)
        items = document if type(document) is list else [document]
        found = [_counter(item.get("seq"), "seq") for item in items if type(item) is dict]
    except Refusal:
        return []
    return [seq for seq in found if seq is not None]


READERS = {
    Uplink.TELEMETRY: read_telemetry,
    Uplink.HEARTBEAT: read_heartbeat,
    Uplink.EVENT: read_event,
}


def _load(payload: bytes) -> Any:
    if len(payload) > MAX_BYTES:
        raise Refusal("too_large", f"{len(payload)} bytes; the limit is {MAX_BYTES}", "send smaller batches")
    try:
        return _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal("bad_json", str(error)[:200], "send JSON (RFC 8259): no NaN, no infinity") from None


def _object(document: Any, what: str) -> dict[str, Any]:
    if type(document) is not dict:
        raise Refusal("bad_shape", f"{what} is an object, not {_name(document)}")
    return document


def _reading(item: Any, received_ms: int, may_be_empty: bool = False) -> tuple[Reading, tuple[int, int]]:
    """The reading, and the number of keys and of colons in strings that its JSON must show."""
    values = _object(item, "a reading")
    raw_ts = values.pop("ts", None)
    seq = values.pop("seq", None)
    reserved = (raw_ts is not None) + (seq is not None)
    inner = values.get("values")
    if type(inner) is dict:
        if len(values) > 1:
            beside = next(key for key in values if key != "values")
            raise Refusal("bad_shape", f"{shown(beside)} stands beside values", "move it into values")
        values, reserved = inner, reserved + 1
    if not values and not may_be_empty:
        raise Refusal("empty", "a reading holds no value")
    keys, colons = check_values(values)
    if type(raw_ts) is str:
        colons += raw_ts.count(":")
    time = stamp(raw_ts, received_ms)
    reading = Reading(time.ts, values, time.server, time.device_ts, _counter(seq, "seq"))
    return reading, (keys + reserved, colons)


def _counter(raw: object, name: str) -> int | None:
    if raw is None:
        return None
    if type(raw) is int and 0 <= raw < 2**63:
        return raw
    raise Refusal("bad_value", f"{name} {shown(raw)} is not a whole number from 0 to 2^63-1")


def _refuse_duplicate_keys(payload: bytes, keys: int, colons: int) -> None:
    """JSON without escapes has one colon for each key, and those inside its strings.

    Where the count agrees no key was dropped as a duplicate, which spares nearly every message a second,
    slower parse.
    """
    if payload.count(b":") == keys + colons and b"\\" not in payload:
        return
    _parse_unique(payload)


def _parse_unique(payload: bytes) -> None:
    try:
        json.loads(payload, object_pairs_hook=_unique)
    except RecursionError:  # it needs a little more of the stack than the parse that went before
        raise Refusal("too_deep", "the payload nests too deeply to be looked through") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise Refusal("duplicate_key", f"key {shown(twice)} comes twice in one object")
    return unique


def _name(document: object) -> str:
    names = {type(None): "null", bool: "a boolean", list: "an array", str: "a string", dict: "an object"}
    return names.get(type(document), "a number")
