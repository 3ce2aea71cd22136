"""Child processes that come back: each writes to its own log and is restarted when it dies.

A child is started through `launch.py`, in a session of its own: a Ctrl-C at the terminal reaches only the
supervisor, which stops the children in its own order.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from sluice import launch, logfile

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Program:
    """`argv[0]` is an absolute path. Secrets go into `env`, never into `argv`, which everyone may read."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


@dataclass(slots=True)
class Backoff:
    """Pauses between restarts, in s: doubling from `first` to `longest`, anew after a run of `steady`."""

    first: float = 0.5
    longest: float = 30.0
    steady: float = 60.0
    _next: float = field(init=False)

    def __post_init__(self) -> None:
        self._next = self.first

    def after(self, run: float) -> float:
        """The pause after a run of that many seconds."""
        pause = self.first if run >= self.steady else self._next
        self._next = min(self.longest, pause * 2)
        return pause


def describe(status: int) -> str:
    """`status` as subprocess gives it: negative for a signal."""
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return f"signal {signal.Signals(-status).name}"
    return f"signal {-status}"


class Child:
    """`keep` runs until `stop`; `started` is called whenever `pid` has another value."""

    def __init__(
        self,
        program: Program,
        log_file: Path,
        inherits: tuple[int, ...] = (),
        started: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = program.name
        self.deaths = 0
        self._program = program
        self.log_file = log_file
        self._inherits = inherits
        self._started = started
        self._backoff = Backoff()
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the process that runs, or ran last; None before the first start."""
        return self._process.pid if self._process else None

    @property
    def last_words(self) -> str:
        return logfile.last_line(self.log_file)

    async def keep(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            status = await self.run_once()
            if self._stopping.is_set():
                return
            self.deaths += 1
            pause = self._backoff.after(time.monotonic() - began)
            log.warning(
                "child_died",
                child=self.name,
                status=describe(status),
                said=self.last_words,
                restart_in_s=pause,
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def run_once(self) -> int:
        """The status it ended with, as `describe` takes it."""
        output = logfile.open_for_append(self.log_file)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launch.__file__, str(os.getpid())),
                *self._program.argv,
                env=dict(self._program.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=self._inherits,
                start_new_session=True,
            )
        finally:
            os.close(output)
        self._process = process
        if self._stopping.is_set():  # asked to stop while it was being started
            process.terminate()
        self._started()
        return await process.wait()

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after `grace_s`; returns when it is gone."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(grace_s):
                await process.wait()
        except TimeoutError:
            log.warning("child_killed", child=self.name, after_s=round(grace_s, 1))
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def bound_log(self) -> None:
        logfile.bound(self.log_file)
