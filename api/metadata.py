"""What may stand in a device's metadata: plain JSON that every database and every screen can hold."""

import math
from typing import Any

import msgspec

MAX_BYTES = 16 * 1024
MAX_DEPTH = 4
MAX_KEY = 128  # characters
_INT64 = 2**63


def check(metadata: dict[str, Any]) -> dict[str, Any]:
    """`metadata` as it is; raises ValueError naming the key and the limit."""
    _check(metadata, "", 1)
    size = len(msgspec.json.encode(metadata))
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes of JSON; the limit is {MAX_BYTES}")
    return metadata


def _check(value: Any, path: str, depth: int) -> None:
    here = path or "the object"
    match value:
        case dict() | list() if depth > MAX_DEPTH:
            raise ValueError(f"{here!r} nests deeper than {MAX_DEPTH} levels")
        case dict():
            for key, inner in value.items():
                _check_key(key)
                _check(inner, f"{path}/{key}", depth + 1)
        case list():
            for index, inner in enumerate(value):
                _check(inner, f"{path}/{index}", depth + 1)
        case float() if not math.isfinite(value):
            raise ValueError(f"{here!r} is {value}, which is not JSON")
        case int() if not -_INT64 <= value < _INT64:
            raise ValueError(f"{here!r} is beyond 64 bits")
        case str():
            _check_text(here, value)


def _check_key(key: str) -> None:
    if not 0 < len(key) <= MAX_KEY:
        raise ValueError(f"a key has {len(key)} characters; 1 to {MAX_KEY} are allowed")
    for char, name in ((".", "'.'"), ("$", "'$'"), ("\0", "NUL")):
        if char in key:
            raise ValueError(f"key {key[:64]!r} holds {name}; keys go without '.', '$' and NUL")
    _check_text("a key", key)


def _check_text(where: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where!r} holds half of a surrogate pair, which is no text") from None
