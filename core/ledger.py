"""Closed accounting: every message received is stored, merged, dead, or still in flight."""

from dataclasses import dataclass


@dataclass(slots=True)
class Ledger:
    """`received == stored + merged + dead + in_flight` holds between any two calls."""

    received: int = 0
    stored: int = 0
    merged: int = 0
    dead: int = 0
    in_flight: int = 0

    def receive(self, messages: int = 1) -> None:
        self.received += messages
        self.in_flight += messages

    def settle(self, stored: int = 0, merged: int = 0, dead: int = 0) -> None:
        """Raises `ValueError` where more would be settled than is in flight: a message counted twice."""
        settled = stored + merged + dead
        if settled > self.in_flight:
            raise ValueError(f"{settled} messages settled, {self.in_flight} in flight")
        self.stored += stored
        self.merged += merged
        self.dead += dead
        self.in_flight -= settled
