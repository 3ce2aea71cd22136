"""Devices by path, kept in memory for a while: ingest asks MongoDB once a batch, not once a message."""

from collections.abc import Callable, Iterable

from store.fleet import Fleet, KnownDevice

TTL_S = 60.0
UNKNOWN_TTL_S = 2.0
MAX_DEVICES = 200_000


class Directory:
    """`clock` in seconds. An edit elsewhere is seen at once over Redis (`forget`), else after `TTL_S`."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._clock = clock
        self._devices: dict[str, tuple[float, KnownDevice | None]] = {}

    async def resolve(self, paths: Iterable[str]) -> dict[str, KnownDevice | None]:
        """None for a path that no device has. Raises `StoreAway`."""
        wanted = set(paths)
        now = self._clock()
        missing = [path for path in wanted if self._expires(path) <= now]
        if missing:
            self._remember(missing, await self._fleet.resolve(missing), now)
        return {path: self._devices[path][1] for path in wanted}

    def forget(self, path: str) -> None:
        self._devices.pop(path, None)

    def forget_all(self) -> None:
        """After an interruption of the news of edits: any of them may have been missed."""
        self._devices.clear()

    def _expires(self, path: str) -> float:
        held = self._devices.get(path)
        return held[0] if held else 0.0

    def _remember(self, paths: list[str], found: dict[str, KnownDevice], now: float) -> None:
        if len(self._devices) + len(paths) > MAX_DEVICES:
            self._devices.clear()
        for path in paths:
            device = found.get(path)
            held = self._devices.pop(path, (0.0, None))[1]
            if device and held and held.key == device.key:
                device.clock = held.clock
            self._devices[path] = (now + (TTL_S if device else UNKNOWN_TTL_S), device)
