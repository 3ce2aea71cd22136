"""What taking one message costs: a subscriber on paho beside the one that ingest uses, on one Mosquitto.

Both subscribe at QoS 1, count, ack and throw away: paho acks each message by `manual_ack`, ours what one
read of the socket brought. Compare the two of one round: the machine's speed drifts from run to run.

`python -m bench.subscriber [--messages N] [--rounds R]` prints JSON.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker.codec import Delivery
from broker.connection import Connection, Subscription
from broker.login import Login
from core.access import SERVICE
from core.topics import ROOT
from tests.services import Mosquitto

FILTER = f"{ROOT}/+/+/telemetry"
WINDOW = 20_000
LIMIT_S = 60.0

StartLoad = Callable[[], subprocess.Popen[bytes]]


def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder, Mosquitto(Path(folder), {}) as broker:
        login = broker.login(SERVICE)
        rounds = [one_round(login, options.messages) for _ in range(options.rounds)]
    print(json.dumps({"messages": options.messages, "rounds": rounds}, indent=2))


def one_round(login: Login, messages: int) -> dict[str, Any]:
    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bench.load", "--port", str(login.port),
                   f"--password={login.password}", "--devices", "1000",
                   "--messages", str(messages), "--start-ms", "1700000000000"]  # fmt: skip
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    return {"paho": with_paho(login, messages, start), "own": asyncio.run(with_own(login, messages, start))}


def with_paho(login: Login, messages: int, start: StartLoad) -> dict[str, int | float]:
    client = Client(CallbackAPIVersion.VERSION2, "bench-paho", protocol=MQTTProtocolVersion.MQTTv5,
                    manual_ack=True)  # fmt: skip
    client.username_pw_set(login.username, login.password)
    received = 0
    subscribed = False

    def on_subscribe(*_: object) -> None:
        nonlocal subscribed
        subscribed = True

    def on_message(_client: Client, _userdata: object, message: MQTTMessage) -> None:
        nonlocal received
        received += 1
        client.ack(message.mid, message.qos)

    client.on_subscribe, client.on_message = on_subscribe, on_message
    wanted = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    wanted.ReceiveMaximum = WINDOW
    client.connect(login.host, login.port, clean_start=True, properties=wanted)
    client.loop()
    client.subscribe(FILTER, qos=1)
    deadline = time.monotonic() + LIMIT_S

    def turn() -> None:
        assert time.monotonic() < deadline, f"{received} of {messages} messages within {LIMIT_S:.0f} s"
        client.loop(timeout=0.1)

    while not subscribed:
        turn()
    load, cpu = start(), time.process_time()
    while received < messages:
        turn()
    result = figures(load, messages, time.process_time() - cpu)
    client.disconnect()
    return result


async def with_own(login: Login, messages: int, start: StartLoad) -> dict[str, int | float]:
    received = 0
    done = asyncio.Event()

    def on_deliveries(connection: Connection, deliveries: list[Delivery]) -> None:
        nonlocal received
        received += len(deliveries)
        connection.ack([delivery.packet_id for delivery in deliveries])
        if received >= messages:
            done.set()

    wanted = Subscription("bench-own", [FILTER], session_expiry_s=0, receive_maximum=WINDOW)
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(login, wanted, on_deliveries), login.host, login.port
    )
    await connection.ready
    load, cpu = start(), time.process_time()
    async with asyncio.timeout(LIMIT_S):
        await done.wait()
    result = figures(load, messages, time.process_time() - cpu)
    connection.close()
    return result


def figures(load: subprocess.Popen[bytes], messages: int, cpu_s: float) -> dict[str, int | float]:
    """Called when the last message is in; the load's own clock says when the first went out."""
    ended = time.time()
    output, _ = load.communicate(timeout=LIMIT_S)
    return {
        "messages_per_s": round(messages / (ended - json.loads(output)["began"])),
        "cpu_us_per_message": round(cpu_s / messages * 1e6, 1),
    }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main(parsed())
