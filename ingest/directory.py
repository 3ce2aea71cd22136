"""Devices by path, kept in memory for a while: ingest asks MongoDB once a batch, not once a message."""

from collections.abc import Callable, Iterable

from store.fleet import Fleet, KnownDevice

TTL_S = 60.0
UNTOLD_TTL_S = 2.0
MAX_DEVICES = 200_000

_NEVER = float("-inf")


class Directory:
    """`clock` in seconds. While `is_told` of edits elsewhere (`forget`) it keeps devices long, else briefly.

    That a path has no device is kept briefly too.
    """

    def __init__(self, fleet: Fleet, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._clock = clock
        self._devices: dict[str, tuple[float, KnownDevice | None]] = {}  # path → when asked, answer
        self._doubted = _NEVER  # what was asked before is asked again
        self.is_told = False

    async def resolve(self, paths: Iterable[str]) -> dict[str, KnownDevice | None]:
        """None for a path that no device has. Raises `StoreAway`."""
        wanted, now = set(paths), self._clock()
        known = {path: self._devices[path][1] for path in wanted if self._is_fresh(path, now)}
        if missing := wanted - known.keys():
            self._remember(missing, await self._fleet.resolve(missing), now)
        return known | {path: self._devices[path][1] for path in missing}

    def forget(self, path: str) -> None:
        """Asks again; the server times given to the device's readings go on where they were."""
        if path in self._devices:
            self._devices[path] = (_NEVER, self._devices[path][1])

    def forget_all(self) -> None:
        """After an interruption of the news of edits: any of them may have been missed."""
        self._doubted = self._clock()

    def _is_fresh(self, path: str, now: float) -> bool:
        asked, device = self._devices.get(path, (_NEVER, None))
        return asked >= self._doubted and now < asked + (TTL_S if device and self.is_told else UNTOLD_TTL_S)

    def _remember(self, paths: set[str], found: dict[str, KnownDevice], now: float) -> None:
        if len(self._devices) + len(paths) > MAX_DEVICES:
            self._devices.clear()
        for path in paths:
            device = found.get(path)
            held = self._devices.pop(path, (0.0, None))[1]
            if device and held and held.key == device.key:
                device.clock = held.clock
            self._devices[path] = (now, device)
