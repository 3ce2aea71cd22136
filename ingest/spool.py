"""A bounded queue on disk that stands in for an absent MongoDB, so that the broker's queue need not.

SQLite with a journal and a full sync at each commit: what `append` returned for survives a kill and a power
cut. First in, first out.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ingest.work import Message

OVERHEAD = 64  # bytes a row takes beside its topic and payload

Row = tuple[int, Message]

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    received INTEGER NOT NULL,
    identity INTEGER NOT NULL,
    since INTEGER NOT NULL,
    retain INTEGER NOT NULL
);
"""


class SpoolFull(Exception):
    """The batch does not fit; nothing of it was kept."""


class Spool:
    """Use as `async with Spool.opened(...)`. Its methods may be called by several tasks."""

    def __init__(self, connection: sqlite3.Connection, limit: int) -> None:
        self._db = connection
        self._limit = limit
        self._lock = asyncio.Lock()  # one transaction at a time on the one connection
        self._count, self._bytes = connection.execute(
            f"SELECT count(*), coalesce(sum(length(payload) + length(topic) + {OVERHEAD}), 0) FROM messages"  # noqa: S608
        ).fetchone()
        # Rows up to here went out to be stored before; None: an earlier run may have tried the first ones.
        self._tried: int | None = None if self._count else 0

    @classmethod
    @asynccontextmanager
    async def opened(cls, file: Path, limit: int) -> AsyncIterator["Spool"]:
        """`limit` in bytes of topics and payloads, and a little for each message."""
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file, check_same_thread=False)
        try:
            connection.executescript(_SCHEMA)
            yield cls(connection, limit)
        finally:
            connection.close()

    def __len__(self) -> int:
        return int(self._count)

    @property
    def bytes(self) -> int:
        return int(self._bytes)

    async def append(self, messages: Sequence[Message]) -> None:
        """On disk when it returns; raises `SpoolFull`."""
        size = sum(map(_size, messages))
        async with self._lock:
            if self._count and self._bytes + size > self._limit:
                raise SpoolFull(f"{self._bytes} bytes are held, {size} more exceed {self._limit}")
            await asyncio.to_thread(self._insert, list(messages))
            self._count += len(messages)
            self._bytes += size

    async def head(self, most: int) -> list[Row]:
        """The oldest messages, each with its number."""
        async with self._lock:
            return await asyncio.to_thread(self._select, most)

    async def drop(self, rows: Sequence[Row]) -> None:
        """Removes these, which are the first ones of the last `head`."""
        async with self._lock:
            await asyncio.to_thread(self._delete, rows[-1][0])
            self._count -= len(rows)
            self._bytes -= sum(_size(message) for _, message in rows)

    def _insert(self, messages: Sequence[Message]) -> None:
        rows = [(m.topic, m.payload, m.received, m.identity, m.since, m.retain) for m in messages]
        with self._db:
            self._db.executemany(
                "INSERT INTO messages (topic, payload, received, identity, since, retain) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )

    def _select(self, most: int) -> list[Row]:
        query = (
            "SELECT id, topic, payload, received, identity, since, retain FROM messages ORDER BY id LIMIT ?"
        )
        found = self._db.execute(query, (most,)).fetchall()
        last = found[-1][0] if found else 0
        tried = last if self._tried is None else self._tried
        self._tried = max(tried, last)
        rows = []
        for number, topic, payload, received, identity, since, retain in found:
            message = Message(topic, payload, received, identity, since, bool(retain))
            if number <= tried:
                message.tried()
            rows.append((number, message))
        return rows

    def _delete(self, mark: int) -> None:
        with self._db:
            self._db.execute("DELETE FROM messages WHERE id <= ?", (mark,))


def _size(message: Message) -> int:
    return len(message.payload) + len(message.topic) + OVERHEAD
