"""Which of a device's counted messages are settled, so that it can drop them from its own buffer.

A device that asks for receipts numbers its messages with `seq`, one up each time. The window remembers from
which number on it has seen the counter (`start`), up to where everything is settled (`to`), and the islands
settled beyond a gap. New data under a number that is settled, or below `start`, means that the device started
to count anew; the window then starts anew too, so that a receipt never claims what was not stored. Where it
cannot be told, new is assumed: claiming too little makes a device send again, and what it sends again merges.
"""

from dataclasses import dataclass

MAX_ISLANDS = 64

Island = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Every seq in `start`..`to` is settled, and those in `islands` (ordered, apart, all beyond `to` + 1)."""

    start: int
    to: int
    islands: tuple[Island, ...] = ()


def settle(window: Window | None, seq: int, is_new: bool) -> Window:
    """The window after `seq` was settled; `is_new`: unless it is known to have been settled before."""
    if window is None:
        return Window(seq, seq)
    if _has(window, seq) or seq < window.start:
        return Window(seq, seq) if is_new else window
    return _closed(window.start, window.to, _insert(window.islands, seq))


def _has(window: Window, seq: int) -> bool:
    return window.start <= seq <= window.to or any(low <= seq <= high for low, high in window.islands)


def _insert(islands: tuple[Island, ...], seq: int) -> list[Island]:
    joined: list[Island] = []
    for low, high in sorted((*islands, (seq, seq))):
        if joined and low == joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined


def _closed(start: int, to: int, islands: list[Island]) -> Window:
    while islands and islands[0][0] == to + 1:
        to = islands.pop(0)[1]
    # Beyond the bound the farthest islands are forgotten: the device sends them again, and they merge.
    return Window(start, to, tuple(islands[:MAX_ISLANDS]))
