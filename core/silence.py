"""Silence that was observed: the guard that keeps an outage of ours from becoming the device's fault.

Ingest records the spans of time in which its whole path from the broker was proven open. A device's silence
is the part of those spans since it was last heard; time in which nobody listened does not count. Ingests that
share the work each hear a part of every device: time counts in which all of them listened.
"""

from collections.abc import Iterable, Mapping

Span = tuple[float, float]

# An ingest that is gone for longer has lost its session at the broker, and with it whatever waited there.
SESSION_S = 7 * 24 * 3600


def common(spans: Mapping[str, Iterable[Span]], now: float) -> list[Span]:
    """The time in which every ingest observed; before its first span an ingest was not there to miss any."""
    members = [merged for own in spans.values() if (merged := merge(own)) and merged[-1][1] > now - SESSION_S]
    if not members:
        return []
    shared = [(min(own[0][0] for own in members), float("inf"))]
    for own in members:
        shared = _intersection(shared, merge([(float("-inf"), own[0][0]), *own]))
    return merge(shared)


def _intersection(one: list[Span], other: list[Span]) -> list[Span]:
    pairs = ((max(a[0], b[0]), min(a[1], b[1])) for a in one for b in other)
    return [(start, end) for start, end in pairs if start < end]


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
