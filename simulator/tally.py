"""What a fleet sent and what came back of it."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(slots=True)
class Tally:
    """`sent` counts every publish that was tried, `acked` those that the broker acknowledged.

    `kinds` has the acknowledged ones by kind, with `repeat` for a reading sent twice; `late` were sent after
    a pause or an outage; `undated` were given up, as they would have to be sent late and carry no time.
    `receipts` by status, and `errors`, are what devices were sent.
    """

    devices: int = 0
    sent: int = 0
    acked: int = 0
    late: int = 0
    undated: int = 0
    sessions: int = 0
    goodbyes: int = 0
    cuts: int = 0
    refusals: int = 0
    errors: int = 0
    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    receipts: Counter[str] = field(default_factory=Counter)

    def summary(self) -> dict[str, Any]:
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**plain, "seconds": round(self.seconds, 2)}
