"""When a reading was taken: from the device's clock where it can be believed, else from the server's.

Epoch numbers come in s, ms, µs or ns and are told apart by magnitude: each unit covers the years 1973 to 5138
in its own span of numbers. Text is RFC 3339 with a zone.
"""

from datetime import UTC, datetime

import msgspec

from core.refusal import Refusal, shown

EARLIEST_MS = 978_307_200_000  # 2001-01-01: a clock that was never set shows 1970 or 2000
LEAD_MS = 10 * 60 * 1000  # how far a device's clock may run ahead

_SECONDS_BELOW = 10**11
_MILLIS_BELOW = 10**14
_MICROS_BELOW = 10**17
_NANOS_BELOW = 2**63


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """`ts` in ms, to store under; `device_ts`: the device's own time in ms, where it was not believed."""

    ts: int
    server: bool
    device_ts: int | None = None


def stamp(raw: object, received_ms: int) -> Stamp:
    """Raises `Refusal` where `raw` is not a time at all; None means that the device has no clock."""
    if raw is None:
        return Stamp(received_ms, server=True)
    ts = to_ms(raw)
    if EARLIEST_MS <= ts <= received_ms + LEAD_MS:
        return Stamp(ts, server=False)
    return Stamp(received_ms, server=True, device_ts=ts)


def to_ms(raw: object) -> int:
    """Milliseconds since 1970 of an epoch number or an RFC 3339 text; raises `Refusal`."""
    if type(raw) is int or type(raw) is float:
        return _epoch_to_ms(raw)
    if type(raw) is str:
        return _text_to_ms(raw)
    raise _bad(raw)


def _epoch_to_ms(raw: float) -> int:
    magnitude = abs(raw)
    if magnitude < _SECONDS_BELOW:
        return round(raw * 1000)
    if magnitude < _MILLIS_BELOW:
        return int(raw)
    if magnitude < _MICROS_BELOW:
        return int(raw // 1000)
    if magnitude < _NANOS_BELOW:
        return int(raw // 1_000_000)
    raise _bad(raw)


def _text_to_ms(raw: str) -> int:
    try:
        moment = msgspec.convert(raw, datetime)
    except msgspec.ValidationError:
        raise _bad(raw) from None
    if moment.tzinfo is None:
        raise Refusal(
            "bad_timestamp", f"ts {shown(raw)} has no zone", "end it with Z or an offset such as +01:00"
        )
    seconds = int(moment.replace(microsecond=0).timestamp())
    return seconds * 1000 + moment.microsecond // 1000


def _bad(raw: object) -> Refusal:
    return Refusal(
        "bad_timestamp", f"ts {shown(raw)} is not a time", "send epoch s, ms, µs or ns, or RFC 3339"
    )


def iso(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds: `2026-11-22T12:00:00.000Z`."""
    seconds, millis = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"
