"""Kinds of devices: what each measures, and the faults of its build."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from simulator.signals import Bursts, DailyCurve, Discharge, RandomWalk, Signal, Steps

Value = float | bool


@dataclass(frozen=True, slots=True)
class Model:
    """One device as built. `has_clock`: dates its readings; `wants_receipts`: numbers them with `seq`."""

    type: str
    signals: Mapping[str, tuple[Signal, int]]  # key → signal and decimals
    battery: Signal  # percent
    rssi: Signal  # dBm
    firmware: str
    has_clock: bool
    wants_receipts: bool

    def read(self, at: float) -> dict[str, Value]:
        return {key: round(signal(at), digits) for key, (signal, digits) in self.signals.items()}


def build(number: int, rng: Random) -> Model:
    """The device with this number in its fleet: types take turns, one in eight has no clock."""
    type_, signals = _TYPES[number % len(_TYPES)]
    return Model(
        type=type_,
        signals=signals(rng),
        rssi=RandomWalk(rng, -95, -40, 2),
        battery=Discharge(rng, life_s=rng.uniform(30, 400) * 86_400),
        firmware=f"1.{rng.randrange(3)}.{rng.randrange(10)}",
        has_clock=number % 8 != 7,
        wants_receipts=number % 3 == 0,
    )


def _climate(rng: Random) -> dict[str, tuple[Signal, int]]:
    return {
        "temperature": (DailyCurve(rng, rng.uniform(18, 23), rng.uniform(1, 4), 0.1), 2),
        "humidity": (RandomWalk(rng, 25, 70, 0.4), 1),
        "co2": (RandomWalk(rng, 400, 1600, 12), 0),
    }


def _machine(rng: Random) -> dict[str, tuple[Signal, int]]:
    return {
        "vibration": (Bursts(rng, 0.4, rng.uniform(6, 12), every_s=240, fade_s=40), 3),
        "temperature": (DailyCurve(rng, rng.uniform(45, 70), 3, 0.4), 2),
        "current": (RandomWalk(rng, 2, 14, 0.5), 2),
    }


def _outdoor(rng: Random) -> dict[str, tuple[Signal, int]]:
    return {
        "temperature": (DailyCurve(rng, rng.uniform(6, 14), rng.uniform(4, 9), 0.3), 2),
        "pressure": (RandomWalk(rng, 985, 1035, 0.1), 1),
        "wind": (Bursts(rng, 1.5, rng.uniform(8, 15), every_s=90, fade_s=20), 1),
    }


def _meter(rng: Random) -> dict[str, tuple[Signal, int]]:
    return {
        "energy": (Steps(rng, rate=rng.uniform(300, 3000)), 0),
        "power": (RandomWalk(rng, 80, 4200, 60), 0),
        "voltage": (DailyCurve(rng, 231, 2, 0.6), 1),
    }


_TYPES = (("climate", _climate), ("machine", _machine), ("outdoor", _outdoor), ("meter", _meter))
