"""A recorded series as one device's telemetry: `timestamp,value` rows, as published by NAB."""

import asyncio
import csv
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from broker.device import DeviceConnection, connected
from broker.login import BrokerAway, Login
from core.topics import Uplink
from simulator.tally import Tally

IN_FLIGHT = 500  # messages, and so rows, that wait for their PUBACK together
RETRY_S = 1.0
TRIES = 30  # in a row without progress


class ReplayError(ValueError):
    """A file that is no series; the message names the line."""


def read_series(file: Path) -> list[tuple[datetime, float]]:
    """Rows in the file's order, doubles included; times without a zone are UTC."""
    with file.open(newline="") as lines:
        rows = csv.reader(lines)
        header = next(rows, None)
        if header != ["timestamp", "value"]:
            raise ReplayError(f"{file}:1: the header is {header}, not timestamp,value")
        return [_row(file, rows.line_num, row) for row in rows]


def _row(file: Path, line: int, row: Sequence[str]) -> tuple[datetime, float]:
    try:
        stamp, value = row
        at = datetime.fromisoformat(stamp)
        return at.replace(tzinfo=at.tzinfo or UTC), float(value)
    except ValueError as error:
        raise ReplayError(f"{file}:{line}: {','.join(row)!r}: {error}") from None


def payload(at: datetime, value: float, key: str) -> bytes:
    return msgspec.json.encode({"ts": round(at.timestamp() * 1000), "values": {key: value}})


def due_times(series: Sequence[tuple[datetime, float]], start: float, speed: float) -> Iterator[float]:
    """When each row is to be sent: `speed` times as fast as recorded, or at once (0); in the file's order."""
    due = start
    for row, before in zip(series, [series[0], *series], strict=False):
        if speed:
            due += max(0.0, (row[0] - before[0]).total_seconds()) / speed
        yield due


async def replay(
    login: Login, series: Sequence[tuple[datetime, float]], key: str, speed: float, tally: Tally
) -> None:
    """Sends each row as one message, QoS 1, in order; returns when every one is acknowledged.

    After a broken connection everything in flight is sent again in order, so that the last of two values at
    one time is the last on the wire too. Raises `BrokerAway` where the broker stays away.
    """
    start = time.time()
    tally.devices = 1
    pending = list(zip(due_times(series, start, speed), series, strict=True)) if series else []
    payloads = [(due, payload(at, value, key)) for due, (at, value) in pending]
    done = tries = 0
    while done < len(payloads):
        try:
            async with connected(login, int(time.time() * 1000), window=IN_FLIGHT) as connection:
                tally.sessions += 1
                while done < len(payloads):
                    done += await _send_due(connection, payloads, done, tally)
                    tries = 0
                await connection.announce("offline")
        except BrokerAway:
            tally.refusals += 1
            tries += 1
            if tries == TRIES:
                raise
            await asyncio.sleep(RETRY_S)
    tally.seconds = time.time() - start


async def _send_due(
    connection: DeviceConnection, payloads: Sequence[tuple[float, bytes]], done: int, tally: Tally
) -> int:
    """Waits for the next row, then sends what is due by now, `IN_FLIGHT` at most; the number sent."""
    await asyncio.sleep(max(0.0, payloads[done][0] - time.time()))
    now = time.time()
    window = payloads[done : done + IN_FLIGHT]
    batch = [body for due, body in window if due <= now] or [window[0][1]]
    tally.sent += len(batch)
    await connection.publish_all(Uplink.TELEMETRY, batch)
    tally.acked += len(batch)
    tally.kinds[Uplink.TELEMETRY] += len(batch)
    return len(batch)
