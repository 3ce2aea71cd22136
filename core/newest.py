"""The newest value of every key of every device, by the reading's own time and never by its arrival."""

from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

Device = TypeVar("Device", bound=Hashable)

Values = dict[str, tuple[int, Any]]


class Newest(Generic[Device]):
    """Gathers cheaply, sorts out late: `add` is on the hot path, `take` is not."""

    def __init__(self) -> None:
        self._readings: dict[Device, list[tuple[int, Mapping[str, Any]]]] = {}

    def __len__(self) -> int:
        return len(self._readings)

    def add(self, device: Device, ts: int, values: Mapping[str, Any]) -> None:
        readings = self._readings.get(device)
        if readings is None:
            self._readings[device] = [(ts, values)]
        else:
            readings.append((ts, values))

    def take(self) -> dict[Device, Values]:
        """Per device and key (ts in ms, value), where of equal times the last added wins; starts anew."""
        taken, self._readings = self._readings, {}
        return {device: _by_key(readings) for device, readings in taken.items()}


def _by_key(readings: list[tuple[int, Mapping[str, Any]]]) -> Values:
    readings.sort(key=lambda reading: reading[0])  # stable: of equal times the order of arrival stays
    return {key: (ts, value) for ts, values in readings for key, value in values.items()}
