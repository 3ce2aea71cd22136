"""Who this ingest is: its place on disk gives it its spool, and its session at the broker.

Both must come back to the same process after a restart, and never to two at once: each ingest on a machine
locks the first free folder `ingest-0`, `ingest-1`, … and takes its client id from there.
"""

import fcntl
import hashlib
import itertools
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class SlotTaken(Exception):
    """Another ingest runs on this folder, and they are not to share the work."""


@dataclass(frozen=True, slots=True)
class Slot:
    folder: Path
    client_id: str

    @property
    def session(self) -> int:
        """A number of 40 bits for the session of `client_id` at the broker."""
        return int.from_bytes(hashlib.blake2b(self.client_id.encode(), digest_size=5).digest(), "big")

    def last_alive(self) -> float:
        """When `note_alive` was last called, in seconds since 1970; 0 where it never was."""
        file = self.folder / "alive"
        return file.stat().st_mtime if file.exists() else 0.0

    def note_alive(self) -> None:
        (self.folder / "alive").touch()

    def earlier_filters(self, filters: Iterable[str]) -> list[str]:
        """Those that the session was subscribed to under other settings; remembers the ones given."""
        file, current = self.folder / "filters", set(filters)
        known = set(file.read_text().splitlines()) if file.exists() else set()
        if not current <= known:
            file.write_text("\n".join(sorted(known | current)))
        return sorted(known - current)


@contextmanager
def taken(data: Path, shared: bool = True) -> Iterator[Slot]:
    """Held until left, or until the process is gone however it ends.

    Without `shared` there is one slot: each of several ingests would get, and store, every message. Raises
    `SlotTaken`.
    """
    for number in itertools.count():
        folder = data / f"ingest-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder) as slot:
            if slot is not None:
                yield slot
                return
        if not shared:
            raise SlotTaken(f"{folder} is held by another ingest; more than one needs ingest.share")


@contextmanager
def locked(folder: Path) -> Iterator[Slot | None]:
    """None where another process holds it."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield None
    else:
        yield Slot(folder, _client_id(folder / "client-id"))
    finally:
        os.close(lock)


def _client_id(file: Path) -> str:
    if not file.exists():
        fresh = file.with_suffix(".new")
        fresh.write_text(f"sluice-ingest-{secrets.token_hex(6)}")
        fresh.replace(file)
    return file.read_text()
