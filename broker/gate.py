"""The port through which device management tells a running broker who may log in."""

from typing import Protocol


class GateError(Exception):
    """The broker could not be told; what it lets in is as it was, or unknown where it did not answer."""


class Gate(Protocol):
    """Both calls may run concurrently and may be repeated: the last one that returned is what holds.

    On return the broker acts on it; both raise `GateError`. The database stays the source of truth: a broker
    that starts is given everybody anew, so a gate stores nothing. A connection that is cut may leave no will.
    """

    async def admit(self, username: str, secret: str) -> None:
        """`username` (`org/device`) logs in with `secret` and no other; a connection it has is cut."""

    async def expel(self, username: str) -> None:
        """`username` no longer logs in and its connection is cut; one that is unknown is no error."""
