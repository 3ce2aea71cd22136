"""The limits on what a reading may hold. `Weight` also serves to find duplicate keys (see `core.payload`)."""

from functools import lru_cache
from typing import Any, NamedTuple

from core.refusal import Refusal, shown

MAX_KEYS = 256
MAX_DEPTH = 4
MAX_STRING = 1024  # bytes of UTF-8; a key is a string too
INT64 = 2**63


class Weight(NamedTuple):
    """Keys at every depth, and colons inside keys and strings."""

    keys: int
    colons: int


def check_values(values: dict[str, Any]) -> Weight:
    """Raises `Refusal` for the first key or value outside the limits; ints beyond 64 bits become floats."""
    weight = _check(values, 1, "")
    if weight.keys > MAX_KEYS:
        raise Refusal("too_many_keys", f"{weight.keys} keys in one reading; the limit is {MAX_KEYS}")
    return weight


def _check(values: dict[str, Any], depth: int, parent: str) -> Weight:
    keys, colons = len(values), 0
    for key, value in values.items():
        colons += _key_colons(key)
        kind = type(value)
        if kind is float or kind is bool:
            continue
        if kind is int:
            if not -INT64 <= value < INT64:
                values[key] = _as_float(parent + key, value)
        elif kind is str:
            colons += _string_colons(parent + key, value)
        elif kind is dict:
            if depth == MAX_DEPTH:
                raise Refusal("too_deep", f"{parent + key!r} nests deeper than {MAX_DEPTH} objects")
            inner = _check(value, depth + 1, f"{parent}{key}/")
            keys, colons = keys + inner.keys, colons + inner.colons
        else:
            raise _bad_value(parent + key, value)
    return Weight(keys, colons)


@lru_cache(maxsize=4096)
def _key_colons(key: str) -> int:
    if not key:
        raise Refusal("bad_key", "a key is empty")
    if _is_too_long(key):
        raise Refusal("bad_key", f"key {shown(key)} is longer than {MAX_STRING} bytes")
    for char, name in ((".", "'.'"), ("$", "'$'"), ("\0", "NUL")):
        if char in key:
            raise Refusal("bad_key", f"key {shown(key)} holds {name}", "keys go without '.', '$' and NUL")
    return key.count(":")


def _string_colons(path: str, value: str) -> int:
    if _is_too_long(value):
        raise Refusal(
            "string_too_long", f"{path!r} holds {len(value.encode())} bytes; the limit is {MAX_STRING}"
        )
    return value.count(":")


def _is_too_long(text: str) -> bool:
    # A character takes at most 4 bytes: most strings are settled without encoding them.
    return len(text) * 4 > MAX_STRING and len(text.encode()) > MAX_STRING


def _as_float(path: str, value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Refusal("bad_value", f"{path!r} is a number beyond 1.8e308") from None


def _bad_value(path: str, value: object) -> Refusal:
    name = "null" if value is None else "an array" if type(value) is list else type(value).__name__
    return Refusal(
        "bad_value",
        f"{path!r} is {name}",
        "values are numbers, booleans, strings or objects; leave out what is unknown",
    )
