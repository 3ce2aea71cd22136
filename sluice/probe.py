"""Asks a process on this machine whether it is ready, without an HTTP library in the supervisor."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

Probe = Callable[[str, int], Awaitable[bool]]  # (host, port)

_ANSWER_S = 2.0


async def listens(host: str, port: int) -> bool:
    """True where a TCP connection is taken."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_ANSWER_S):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return True
    return False


async def is_ready(host: str, port: int) -> bool:
    """True where `GET /readyz` answers 200."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_ANSWER_S):
            return await _status(host, port, "/readyz") == 200
    return False


async def _status(host: str, port: int, path: str) -> int:
    """The status of an answer; 0 where it is not HTTP."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        line = await reader.readline()
    finally:
        writer.close()
    words = line.split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
