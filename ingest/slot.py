"""Who this ingest is: its place on disk gives it its spool, and its session at the broker.

Both must come back to the same process after a restart, and never to two at once: each ingest on a machine
locks the first free folder `ingest-0`, `ingest-1`, … and takes its client id from there.
"""

import fcntl
import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Slot:
    folder: Path
    client_id: str


@contextmanager
def taken(data: Path) -> Iterator[Slot]:
    """Held until left, or until the process is gone however it ends."""
    for number in itertools.count():
        folder = data / f"ingest-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        try:
            yield Slot(folder, _client_id(folder / "client-id"))
        finally:
            os.close(lock)
        return


def _client_id(file: Path) -> str:
    if not file.exists():
        fresh = file.with_suffix(".new")
        fresh.write_text(f"sluice-ingest-{secrets.token_hex(6)}")
        fresh.replace(file)
    return file.read_text()
