"""The rules of bucketed queries: widths, aggregates, and how much one request may ask for."""

import re
from typing import get_args

from store.readings import Aggregate, Span

MAX_BUCKETS = 10_000
MAX_CELLS = 500_000  # buckets times columns; about 5 MB of JSON
MAX_KEYS = 64
DAY_MS = 24 * 3600 * 1000

_WIDTH = re.compile(r"([1-9][0-9]{0,5})(s|m|h|d)")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY_MS}
_ROUND = ("1s", "5s", "10s", "30s", "1m", "5m", "10m", "15m", "30m", "1h", "2h", "6h", "12h", "1d")


def width(text: str) -> int:
    """Milliseconds of `30s`, `5m`, `1h`, `1d`; raises ValueError naming the text and the limits."""
    match = _WIDTH.fullmatch(text)
    ms = int(match[1]) * _UNIT_MS[match[2]] if match else 0
    if not 1000 <= ms <= DAY_MS:
        raise ValueError(f"{text[:40]!r} is not a width from 1s to 1d, such as 30s, 5m or 1h")
    return ms


def aggregates(text: str) -> list[Aggregate]:
    """`avg,min`; raises ValueError naming what is unknown."""
    known: dict[str, Aggregate] = {kind: kind for kind in get_args(Aggregate)}
    wanted = list(dict.fromkeys(text.split(",")))
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"{unknown[0][:40]!r} is not one of {', '.join(known)}")
    return [known[name] for name in wanted]


def keys(text: str) -> list[str]:
    """`temperature,humidity`; raises ValueError naming the key at fault."""
    names = list(dict.fromkeys(text.split(",")))
    if len(names) > MAX_KEYS:
        raise ValueError(f"{len(names)} keys; the limit is {MAX_KEYS}")
    for name in names:
        if not name or any(char in name for char in ".$\0"):
            raise ValueError(f"{name[:64]!r} is no key: keys are not empty and go without '.', '$' and NUL")
    return names


def check_size(span: Span, width_ms: int, columns: int) -> None:
    """Raises ValueError naming the limit and what would fit, where the answer could exceed either limit."""
    limit = min(MAX_BUCKETS, MAX_CELLS // max(columns, 1))
    asked = _count(span, width_ms)
    if asked <= limit:
        return
    fitting = [text for text in _ROUND if _count(span, width(text)) <= limit]
    advice = f"bucket={fitting[0]} would fit" if fitting else f"at most {limit} days fit, with bucket=1d"
    raise ValueError(
        f"{asked} buckets of {columns} columns; the limit is {limit} buckets "
        f"({MAX_BUCKETS} buckets, {MAX_CELLS} values): {advice}"
    )


def _count(span: Span, width_ms: int) -> int:
    """Buckets that the span touches."""
    return (span.end - 1) // width_ms - span.start // width_ms + 1
