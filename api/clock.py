"""Times on the wire: RFC 3339 in UTC with milliseconds going out, that or epoch s/ms coming in."""

from datetime import UTC, datetime, timedelta

from core.refusal import Refusal
from core.timestamps import iso, to_ms

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z


def now() -> datetime:
    """UTC, cut to the milliseconds that MongoDB keeps."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def ms_of(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def rfc3339(moment: datetime) -> str:
    """`2026-11-22T12:00:00.000Z`."""
    return iso(ms_of(moment))


def device_time(ms: int) -> str | int:
    """A device's clock may be so wrong that its time has no date; then it is left as milliseconds."""
    try:
        return iso(ms)
    except (ValueError, OverflowError, OSError):
        return ms


def parse(text: str) -> int:
    """Milliseconds since 1970 of a query parameter; raises ValueError naming the text.

    RFC 3339 with a zone, or epoch seconds or milliseconds, told apart by magnitude.
    """
    is_number = text.isascii() and text.isdigit() and len(text) <= 18
    try:
        # A bare "+" in a query string arrives as a space.
        ms = to_ms(int(text)) if is_number else to_ms(text.replace(" ", "+"))
    except Refusal as refusal:
        raise ValueError(refusal.detail) from None
    if not 0 <= ms <= _MAX_MS:
        raise ValueError(f"{text[:40]!r} lies outside the years 1970 to 9999")
    return ms
