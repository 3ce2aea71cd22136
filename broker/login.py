"""How a client of ours reaches the broker, and the error when it does not."""

from dataclasses import dataclass


class BrokerAway(Exception):
    """The broker is not connected, or did not confirm in time."""


@dataclass(frozen=True, slots=True)
class Login:
    """`version`: "3.1.1" or "5"."""

    host: str
    port: int
    username: str
    password: str
    version: str = "5"
