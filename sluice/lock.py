"""One supervisor a directory, and none while children of a killed one still run.

`DIR/lock` is held by the supervisor and names its pid. `DIR/children.lock` is opened by the supervisor and
inherited by every child: the kernel releases it when the last of them is gone, whoever died first.
"""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sluice.errors import UpError

_REMNANTS_S = 20.0


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Raises `UpError` with the pid that holds `data` where another supervisor does."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data / "lock").open("a+") as file:
        if not _locked(file.fileno()):
            file.seek(0)
            raise UpError(f"{data} is in use by sluice up with pid {file.read().strip() or 'unknown'}")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def children(data: Path) -> Iterator[int]:
    """The descriptor that children inherit; take it with `remnants_gone` first."""
    with (data / "children.lock").open("a") as file:
        yield file.fileno()


async def remnants_gone(descriptor: int) -> None:
    """Waits for the children of a supervisor that was killed: they were told to stop when it went."""
    deadline = asyncio.get_running_loop().time() + _REMNANTS_S
    while not _locked(descriptor):
        if asyncio.get_running_loop().time() > deadline:
            raise UpError(f"processes of an earlier run still hold the directory after {_REMNANTS_S:.0f} s")
        await asyncio.sleep(0.1)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
