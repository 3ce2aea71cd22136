"""Gathers messages until there are enough, they are heavy enough, or the oldest has waited long enough."""

from typing import Generic, TypeVar

Item = TypeVar("Item")


class Batcher(Generic[Item]):
    """`size` in items, `weight` in bytes, `age` in seconds; `now` is any clock that only goes forward."""

    def __init__(self, size: int, weight: int, age: float) -> None:
        self._size = size
        self._weight = weight
        self._age = age
        self._items: list[tuple[Item, int]] = []
        self._oldest = 0.0
        self.held_weight = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, now: float, item: Item, weight: int) -> None:
        if not self._items:
            self._oldest = now
        self._items.append((item, weight))
        self.held_weight += weight

    def wait(self, now: float) -> float | None:
        """Seconds until a batch is due: 0 where it is, None where nothing is held."""
        if not self._items:
            return None
        if len(self._items) >= self._size or self.held_weight >= self._weight:
            return 0.0
        return max(0.0, self._oldest + self._age - now)

    def take(self, now: float) -> list[Item]:
        """The oldest items within `size` and `weight`, at least one; what stays behind starts to age now."""
        count, weight = 0, 0
        for _, item_weight in self._items[: self._size]:
            if count and weight + item_weight > self._weight:
                break
            count, weight = count + 1, weight + item_weight
        taken, self._items = self._items[:count], self._items[count:]
        self.held_weight -= weight
        self._oldest = now
        return [item for item, _ in taken]
