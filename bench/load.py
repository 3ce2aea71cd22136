"""Publishes readings as fast as the broker takes them: QoS 1, three values each, from a process of its own.

`python -m bench.load --port P --password W --devices D --messages N` prints `{"seconds", "cpu_s", "began"}`.
The packets are made before the clock starts, so that the load costs the machine as little as it can.
"""

import argparse
import asyncio
import json
import os
import random
import time

from broker import codec
from core.access import SERVICE
from core.topics import ROOT

CONNECTIONS = 4
CHUNK = 100  # packets in one write
WINDOW = 2_000  # unacked messages a connection


def packets(number: int, devices: int, messages: int, start_ms: int, kind: str) -> list[bytes]:
    """Chunks of PUBLISH packets of the connection's own share of the devices; each reading its own time."""
    rng = random.Random(number)
    chunks, chunk = [], []
    for index in range(messages):
        device = f"device-{number + CONNECTIONS * (index % (devices // CONNECTIONS)):05d}"
        payload = json.dumps({"ts": start_ms + index, **values(rng)}, separators=(",", ":")).encode()
        chunk.append(codec.publish(codec.V5, f"{ROOT}/bench/{device}/{kind}", payload, index % 65_535 + 1))
        if len(chunk) == CHUNK:
            chunks.append(b"".join(chunk))
            chunk = []
    return [*chunks, b"".join(chunk)] if chunk else chunks


def values(rng: random.Random) -> dict[str, float]:
    return {
        "temperature": round(rng.gauss(21, 2), 2),
        "humidity": round(rng.gauss(45, 5), 1),
        "pressure": round(rng.gauss(1013, 6), 1),
    }


async def publish(port: int, password: str, number: int, chunks: list[bytes], messages: int) -> None:
    """Returns when the broker has acked every message."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(codec.connect(codec.V5, f"bench-{number}-{os.getpid()}", SERVICE, password, 60, 0, 65_535))
    connack = await reader.read(64)
    assert connack[0] >> 4 == codec.CONNACK, connack
    assert connack[3] == 0, f"refused: {connack.hex()}"
    acked_bytes, sent = 0, 0

    async def wait_for(count: int) -> None:
        nonlocal acked_bytes
        while acked_bytes // 4 < count:
            data = await reader.read(65_536)
            assert data, "the broker closed the connection"
            acked_bytes += len(data)

    for chunk in chunks:
        await wait_for(sent - WINDOW)
        writer.write(chunk)
        sent += CHUNK
    await wait_for(messages)
    writer.close()


async def main(options: argparse.Namespace) -> None:
    share = options.messages // CONNECTIONS
    prepared = [
        packets(n, options.devices, share, options.start_ms, options.kind) for n in range(CONNECTIONS)
    ]
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(
        *(publish(options.port, options.password, n, prepared[n], share) for n in range(CONNECTIONS))
    )
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu_s": spent, "began": time.time() - seconds}))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--devices", type=int, required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--start-ms", type=int, required=True)
    parser.add_argument("--kind", default="telemetry", help="last level of the topic")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parsed()))
