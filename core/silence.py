"""Silence that was observed: the guard that keeps an outage of ours from becoming the device's fault.

Ingest records the spans of time in which its whole path from the broker was proven open. A device's silence
is the part of those spans since it was last heard; time in which nobody listened does not count.
"""

from collections.abc import Iterable

Span = tuple[float, float]


def merge(spans: Iterable[Span]) -> list[Span]:
    """Overlapping and touching spans as one, in order; several ingests observe side by side."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        elif end > start:
            merged.append((start, end))
    return merged


def observed(since: float, spans: Iterable[Span]) -> float:
    """Seconds of `spans` (merged) that lie after `since`."""
    return sum(end - max(start, since) for start, end in spans if end > since)


def cutoff(limit: float, spans: Iterable[Span]) -> float | None:
    """The moment before which a device must have been heard last for its observed silence to exceed `limit`.

    `observed(since, spans) > limit` holds for exactly those `since` that lie before it; None where less than
    `limit` was observed in all. Silence that equals the limit does not exceed it: a device that speaks once
    in every `limit` seconds keeps its state.
    """
    left = limit
    for start, end in reversed(list(spans)):
        if end - start > left:
            return end - left
        left -= end - start
    return None


def horizon(spans: Iterable[Span]) -> float | None:
    """The end of what was observed (merged): nothing is known of devices after it."""
    return max((end for _, end in spans), default=None)
