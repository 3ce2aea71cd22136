"""How every process runs: one coroutine, cancelled once by SIGINT or SIGTERM; a clean stop is status 0."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any


def run(main: Coroutine[Any, Any, None], fast: bool = True) -> None:
    """Returns when `main` has ended or has been stopped; `fast` runs it on uvloop."""
    os.umask(0o077)  # the spool and the logs hold what devices sent
    with asyncio.Runner(loop_factory=_uvloop() if fast else None) as runner:
        runner.run(_until_stopped(main))


async def _until_stopped(main: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(main, name="main")
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:  # a second signal must not cut a clean stop short
            stopping = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopping:
            raise


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop  # noqa: PLC0415 - the supervisor runs without it, to stay small

    return uvloop.new_event_loop
