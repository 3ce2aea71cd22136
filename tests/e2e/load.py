"""Devices that publish through paho and know what must be stored of it, whatever happens in between."""

import json
import threading
import time
from collections import Counter
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.e2e.stand import Stand
from tests.e2e.test_up import until
from tests.services import HOST

T0 = 1_700_000_000_000
REPEATS = 40  # consecutive numbers that share a time where times repeat


def payload(number: int, padding: str = "") -> bytes:
    """Of each ten: five with an own time, one of those shared; one is broken, and one like all its kind."""
    match number % 10:
        case 3:
            return b'{"n":%d,' % number
        case 5:
            return b'{"ts":%d,"r":%d}' % (T0 + number // REPEATS, number)
        case 7:
            return b'{"same":true}'
        case digit if digit % 2 == 0:
            return b'{"ts":%d,"n":%d,"p":"%s"}' % (T0 + 1_000_000 + number, number, padding.encode())
    return b'{"n":%d,"p":"%s"}' % (number, padding.encode())


class Sensor:
    """One device; it keeps what the broker has not acknowledged and sends it again after a reconnect."""

    def __init__(self, stand: Stand, name: str, secret: str | None = None, dated: bool = False) -> None:
        self.name = name
        self.acked = 0
        self.sent: list[bytes] = []
        self._stand = stand
        self._dated = dated
        self._topic = f"v1/{stand.org}/{name}/telemetry"
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, f"test-{name}", clean_session=False, protocol=paho.MQTTv311
        )
        self._client.username_pw_set(f"{stand.org}/{name}", secret or stand.create(name))
        self._client.max_inflight_messages_set(100)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_publish = self._on_publish
        self._client.connect(HOST, stand.mqtt_port)
        self._client.loop_start()

    def publish(self, number: int, padding: str = "") -> None:
        """With `dated`, only what a second copy of the message cannot double: QoS 1 promises no more."""
        body = payload(number, padding)
        if self._dated and b'"ts"' not in body:
            body = payload(number // 10 * 10, padding)
        self.sent.append(body)
        self._client.publish(self._topic, body, qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_publish(self, *_: Any) -> None:
        self.acked += 1

    def check(self, ordered: bool = True) -> None:
        """Every message that was sent is in exactly one place, with the last word where times repeat.

        Two ingests do not keep one order: with `ordered` off the times must be there, and no word counts.
        """
        readings = self._stand.readings(self._stand.device_id(self.name))
        numbers = Counter(reading["v"]["n"] for reading in readings if "n" in reading["v"])
        expected = Counter(self._numbers("n"))
        if self._dated:
            expected = Counter(set(expected))
        doubled, missing = numbers - expected, expected - numbers
        assert not doubled, f"{self.name}: doubled {sorted(doubled)}"
        assert not missing, f"{self.name}: missing {sorted(missing)}"
        alike = sum("same" in reading["v"] for reading in readings)
        assert alike == self.sent.count(b'{"same":true}'), f"{self.name}: alike"
        repeated = {T0 + number // REPEATS: number for number in self._numbers("r")}
        stored = {
            int.from_bytes(reading["_id"][12:], "big"): reading["v"]["r"]
            for reading in readings
            if "r" in reading["v"]
        }
        assert stored.keys() == repeated.keys(), f"{self.name}: missing times"
        assert not ordered or stored == repeated, f"{self.name}: order"
        sent = set(self.sent)  # a device of this name that was deleted may have left dead letters
        dead = Counter(body for body in self._stand.dead_payloads(self.name) if body in sent)
        assert dead == Counter(body for body in self.sent if body.endswith(b",")), f"{self.name}: dead"

    def _numbers(self, key: str) -> list[int]:
        bodies = [body for body in self.sent if not body.endswith(b",")]
        return [document[key] for document in map(json.loads, bodies) if key in document]


class Load:
    """Sensors that publish side by side in a thread of its own, at a steady pace, until told to stop."""

    def __init__(
        self, sensors: list[Sensor], count: int, pause_s: float, padding: str = "", first: int = 0
    ) -> None:
        self._sensors = sensors
        self._numbers = range(first, first + count)
        self._pause_s = pause_s
        self._padding = padding
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Everything is published, and acknowledged by the broker."""
        self._thread.join()
        until(lambda: all(sensor.acked >= len(sensor.sent) for sensor in self._sensors), 60)

    def _run(self) -> None:
        for number in self._numbers:
            for sensor in self._sensors:
                sensor.publish(number, self._padding)
            time.sleep(self._pause_s)
