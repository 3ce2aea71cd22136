"""Pages: opaque cursors, and the fields that a caller asked for."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

from api.problems import Invalid


def cursor(kind: str, position: bytes) -> str:
    """Where the next page begins. `kind` keeps a cursor from being used on another listing."""
    return base64.urlsafe_b64encode(kind.encode() + b"\0" + position).decode().rstrip("=")


def position(kind: str, text: str | None) -> bytes | None:
    """What `cursor` was made from; raises `Invalid` for anything else."""
    if text is None:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    found, _, place = raw.partition(b"\0")
    if found != kind.encode() or not place:
        raise Invalid(f"cursor {text[:60]!r} does not belong to this listing", code="invalid_cursor")
    return place


def select(
    fields: str | None, items: Iterable[Mapping[str, Any]], known: Iterable[str]
) -> list[dict[str, Any]]:
    """Each item with the fields in `fields` (comma-separated) only; raises `Invalid` for unknown ones."""
    if fields is None:
        return [dict(item) for item in items]
    wanted = [name.strip() for name in fields.split(",")]
    allowed = sorted(known)
    if unknown := [name for name in wanted if name not in allowed]:
        raise Invalid(f"fields: {unknown[0][:60]!r} is not one of {', '.join(allowed)}")
    return [{name: item[name] for name in wanted if name in item} for item in items]
