"""Whether a device is there, from its births, its wills and its being heard.

A device that counts its sessions numbers its birth and its will alike. A broker publishes the will of a
broken connection late, often after the device came back: a will of a session older than the newest birth is
of a connection that is no more, and is ignored.
"""

from dataclasses import dataclass, replace
from typing import Literal

from core.payload import StatusReport

State = Literal["online", "offline", "unknown"]


@dataclass(frozen=True, slots=True)
class Presence:
    """`since` in ms; `reason`: birth, will, heard, silent."""

    state: State = "unknown"
    since: int | None = None
    session: int | None = None
    reason: str | None = None


def on_status(presence: Presence, report: StatusReport, at: int, retained: bool = False) -> Presence:
    """After a birth or a will; the same object where it changes nothing.

    `retained`: the broker repeats it to a new subscriber. A birth is then news only where nothing is known of
    the device, or where it counts a session that was not heard of.
    """
    if report.online and retained and not _is_news(presence, report):
        return presence
    if report.online:
        since = presence.since if presence.state == "online" else at
        session = report.session if report.session is not None else presence.session
        born = Presence("online", since, session, "birth")
        return presence if born == presence else born
    if _is_stale(presence, report) or presence.state == "offline":
        return presence
    return Presence("offline", at, presence.session if report.session is None else report.session, "will")


def on_heard(presence: Presence, at: int) -> Presence:
    """After a message that arrived at `at`; one from before or with the last change says nothing new."""
    if presence.state == "online" or (presence.since is not None and at <= presence.since):
        return presence
    return replace(presence, state="online", since=at, reason="heard")


def _is_news(presence: Presence, report: StatusReport) -> bool:
    if presence.state == "unknown":
        return True
    return report.session is not None and (presence.session is None or report.session > presence.session)


def _is_stale(presence: Presence, report: StatusReport) -> bool:
    return report.session is not None and presence.session is not None and report.session < presence.session
