"""The connection to MongoDB: every write waits for a majority's journal, every time is UTC and aware."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC
from typing import Any

from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, WriteConcern
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    PyMongoError,
    WTimeoutError,
)

from store import cancellation
from store.errors import StoreAway

Document = dict[str, Any]
Database = AsyncDatabase[Document]

DURABLE = WriteConcern(w="majority", j=True)

_AWAY = (AutoReconnect, ConnectionFailure, NetworkTimeout, NotPrimaryError, ExecutionTimeout, WTimeoutError)


@asynccontextmanager
async def connect(url: str, database: str, timeout_s: float) -> AsyncIterator[Database]:
    """The database named `database`; does not wait for a server. `timeout_s` bounds every operation."""
    client: AsyncMongoClient[Document] = AsyncMongoClient(
        url,
        serverSelectionTimeoutMS=int(timeout_s * 1000),
        connectTimeoutMS=int(timeout_s * 1000),
        timeoutMS=int(timeout_s * 1000),
        retryReads=False,  # on a node without primary the driver repeats them without a pause until timeoutMS
        appname="sluice",
    )
    codec: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)
    try:
        yield client.get_database(database, codec_options=codec, write_concern=DURABLE)
    finally:
        await client.close()


@contextmanager
def away_as_store_error() -> Iterator[None]:
    """Turns "no server, no majority, no answer in time" into `StoreAway`; other errors pass."""
    try:
        with cancellation.kept():
            yield
    except PyMongoError as error:
        if is_away(error):
            raise StoreAway(str(error)) from error
        raise


def is_away(error: PyMongoError) -> bool:
    return isinstance(error, _AWAY) or error.timeout or error.has_error_label("RetryableWriteError")


async def ping(database: Database) -> None:
    """Raises `StoreAway` where no member that takes writes answers."""
    with away_as_store_error():
        hello = await database.client.admin.command("hello")
    if not hello.get("isWritablePrimary"):
        raise StoreAway("no primary: the replica set takes no writes now")
