"""Who subscribed to what, as a tree of levels: a publish walks its own levels, not the list of filters."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Holder = TypeVar("Holder", bound=Hashable)


def is_filter(text: str) -> bool:
    """True for a topic filter by MQTT 3.1.1 section 4.7: `#` last and alone, `+` alone in its level."""
    levels = text.split("/")
    return (
        bool(text)
        and "\0" not in text
        and "#" not in "".join(levels[:-1])
        and all(level in ("+", "#") or not set(level) & {"+", "#"} for level in levels)
    )


def is_topic(text: str) -> bool:
    """True for a topic that may be published to: not empty, no wildcard, no NUL."""
    return bool(text) and not set(text) & {"+", "#", "\0"}


@dataclass(slots=True)
class _Node(Generic[Holder]):
    below: dict[str, "_Node[Holder]"] = field(default_factory=dict)
    holders: dict[Holder, int] = field(default_factory=dict)


class Subscriptions(Generic[Holder]):
    """Topic filters and their holders, each with the QoS it was granted."""

    def __init__(self) -> None:
        self._root: _Node[Holder] = _Node()

    def add(self, topic_filter: str, holder: Holder, qos: int) -> None:
        node = self._root
        for level in topic_filter.split("/"):
            node = node.below.setdefault(level, _Node())
        node.holders[holder] = qos

    def discard(self, topic_filter: str, holder: Holder) -> None:
        path = [(self._root, "")]
        for level in topic_filter.split("/"):
            below = path[-1][0].below.get(level)
            if below is None:
                return
            path.append((below, level))
        path[-1][0].holders.pop(holder, None)
        for (parent, _), (node, level) in zip(path[-2::-1], path[:0:-1], strict=True):
            if not node.below and not node.holders:
                del parent.below[level]

    def matching(self, topic: str) -> dict[Holder, int]:
        """Every holder once, with the highest QoS among its filters that match."""
        found: dict[Holder, int] = {}
        for node in _walk(self._root, topic.split("/")):
            for holder, qos in node.holders.items():
                found[holder] = max(qos, found.get(holder, 0))
        return found


def _walk(node: _Node[Holder], levels: list[str]) -> Iterator[_Node[Holder]]:
    if rest := node.below.get("#"):
        yield rest  # `a/#` matches `a` too
    if not levels:
        yield node
        return
    for name in (levels[0], "+"):
        if below := node.below.get(name):
            yield from _walk(below, levels[1:])
