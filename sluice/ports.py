"""Ports of the loopback interface: finding free ones, and refusing taken ones before anything starts."""

import socket
from collections.abc import Mapping
from contextlib import ExitStack

from sluice.errors import UpError


def settle(wanted: Mapping[str, int], host: str = "127.0.0.1") -> dict[str, int]:
    """A port for every name: the wanted one, or a free one for 0; raises `UpError` naming one that is taken.

    All are bound at the same time, so that no two names share a port.
    """
    with ExitStack() as open_sockets:
        bound = {}
        for name, port in sorted(wanted.items(), key=lambda item: item[1] == 0):  # the fixed ones first
            bound[name] = open_sockets.enter_context(_bound(name, host, port)).getsockname()[1]
    return bound


def _bound(name: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: not for a live listener
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UpError(f"port {port} ({name}) on {host} cannot be used: {error.strerror}") from error
    return listener
