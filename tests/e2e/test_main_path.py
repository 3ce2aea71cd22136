"""From a device's publish to every answer of the API, with clients that are not ours, on both brokers."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.e2e.stand import Stand
from tests.e2e.test_up import kinds, until
from tests.services import HOST

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="needs mosquitto-clients"),
]

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
T0_MS = int(T0.timestamp() * 1000)


@pytest.fixture(scope="module", params=kinds())
def stand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    made = Stand(tmp_path_factory.mktemp("main") / "data", request.param)
    made.start()
    try:
        yield made
    finally:
        made.stop()


class Shell:
    """A device at a command line."""

    def __init__(self, stand: Stand, name: str, secret: str) -> None:
        self._path = f"{stand.org}/{name}"
        self._login = ["-h", HOST, "-p", str(stand.mqtt_port), "-u", self._path, "-P", secret]

    def publish(self, kind: str, body: str) -> subprocess.CompletedProcess[str]:
        command = ["mosquitto_pub", *self._login, "-t", f"v1/{self._path}/{kind}", "-q", "1", "-m", body]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)

    @contextmanager
    def listening(self) -> Iterator[list[tuple[str, Any]]]:
        """The last topic level and the document of each receipt and error, as they come."""
        topics = [part for level in ("receipt", "error") for part in ("-t", f"v1/{self._path}/{level}")]
        # -d says when the broker has granted the subscription; stdbuf, since a pipe is buffered otherwise.
        command = ["stdbuf", "-oL", "mosquitto_sub", "-d", *self._login, "-q", "1", *topics, "-F", "%t %p"]
        heard: list[tuple[str, Any]] = []
        granted = threading.Event()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

            def read() -> None:
                assert process.stdout is not None
                for line in process.stdout:
                    if line.startswith("Subscribed"):
                        granted.set()
                    elif line.startswith("v1/"):
                        topic, document = line.split(" ", 1)
                        heard.append((topic.rpartition("/")[2], json.loads(document)))

            reader = threading.Thread(target=read, name="mosquitto_sub")
            reader.start()
            try:
                assert granted.wait(10)
                yield heard
            finally:
                process.terminate()
                reader.join()


@contextmanager
def live(stand: Stand, device: str) -> Iterator[list[tuple[str, Any]]]:
    """Name and data of each event on the device's stream."""
    events: list[tuple[str, Any]] = []
    open_ = threading.Event()

    def read(response: httpx.Response) -> None:
        name = ""
        with suppress(httpx.TransportError, httpx.StreamClosed):
            for line in response.iter_lines():
                if line == ": live":
                    open_.set()
                elif line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    events.append((name, json.loads(line.removeprefix("data: "))))

    with (
        httpx.Client(base_url=stand.api.base_url, headers=stand.api.headers, timeout=20) as client,
        client.stream("GET", "/live", params={"device": device}) as response,
    ):
        reader = threading.Thread(target=read, args=(response,), name="live", daemon=True)
        reader.start()
        assert open_.wait(10)
        yield events


def get(stand: Stand, path: str, **query: str) -> Any:
    return stand.api.get(path, params=query).raise_for_status().json()


def test_a_device_from_its_secret_to_its_end(stand: Stand) -> None:
    created = stand.api.post("/devices", json={"device": "boiler", "name": "Boiler", "tags": ["cellar"]})
    assert created.status_code == 201
    shell = Shell(stand, "boiler", created.json()["secret"])

    with shell.listening() as heard, live(stand, "boiler") as events:
        for seq, minute in enumerate((0, 1, 2, 7), 1):
            body = {"ts": T0_MS + minute * 60_000, "seq": seq, "temperature": 20 + minute}
            assert shell.publish("telemetry", json.dumps(body)).returncode == 0
        late = {"ts": T0_MS - 60_000, "temperature": -1, "door": True}
        shell.publish("telemetry", json.dumps(late))
        shell.publish("event", json.dumps({"ts": T0_MS, "level": "warning", "code": "E17", "message": "hot"}))
        shell.publish("heartbeat", '{"battery":87}')
        shell.publish("telemetry", '{"temperature":NaN}')
        until(lambda: sum(kind == "receipt" for kind, _ in heard) == 4, 10)
        until(lambda: any(kind == "error" for kind, _ in heard), 10)
        until(lambda: any("door" in values for values in live_values(events, "boiler")), 10)
        until(lambda: any(data.get("kind") == "device.event" for _, data in events), 10)
    receipts = [told for kind, told in heard if kind == "receipt"]
    assert [(told["status"], told["seq"], told["from"]) for told in receipts] == [
        ("stored", seq, 1) for seq in (1, 2, 3, 4)
    ]
    assert all(told["seq"] <= told["stored_to"] for told in receipts)
    [error] = [told for kind, told in heard if kind == "error"]
    assert (error["code"], error["topic"]) == ("bad_json", f"v1/{stand.org}/boiler/telemetry")

    check_readings(stand)
    [letter] = stand.database["dead_letters"].find({"device": "boiler"})
    assert (bytes(letter["payload"]), letter["code"]) == (b'{"temperature":NaN}', "bad_json")
    check_that_it_is_gone_when_deleted(stand, shell)


def live_values(events: list[tuple[str, Any]], device: str) -> list[dict[str, Any]]:
    return [data["devices"][device]["values"] for name, data in events if name == "readings"]


def check_readings(stand: Stand) -> None:
    device = get(stand, "/devices/boiler")
    assert (device["presence"]["state"], device["lifecycle"]) == ("online", "active")
    raw = get(stand, "/devices/boiler/telemetry", order="asc")["items"]
    assert [(item["ts"], item["values"]) for item in raw] == [
        ("2026-03-01T11:59:00.000Z", {"temperature": -1, "door": True}),
        ("2026-03-01T12:00:00.000Z", {"temperature": 20}),
        ("2026-03-01T12:01:00.000Z", {"temperature": 21}),
        ("2026-03-01T12:02:00.000Z", {"temperature": 22}),
        ("2026-03-01T12:07:00.000Z", {"temperature": 27}),
    ]
    span = {"from": "2026-03-01T12:00:00Z", "to": "2026-03-01T13:00:00Z"}
    query = {**span, "bucket": "5m", "agg": "avg,max,count"}
    buckets = get(stand, "/devices/boiler/telemetry", **query)
    assert buckets["ts"] == ["2026-03-01T12:00:00.000Z", "2026-03-01T12:05:00.000Z"]
    assert buckets["columns"]["temperature"] == {"avg": [21.0, 27.0], "max": [22, 27], "count": [3, 1]}
    assert get(stand, "/devices/boiler/latest")["values"] == {
        "temperature": {"ts": "2026-03-01T12:07:00.000Z", "value": 27},
        "door": {"ts": "2026-03-01T11:59:00.000Z", "value": True},
    }
    [event] = get(stand, "/devices/boiler/events")["items"]
    assert (event["level"], event["code"], event["message"]) == ("warning", "E17", "hot")
    [beat] = get(stand, "/devices/boiler/heartbeats")["items"]
    assert beat["values"] == {"battery": 87}
    over_http = stand.api.post("/devices/boiler/telemetry", json={"ts": T0_MS, "humidity": 40})
    assert (over_http.status_code, over_http.json()["status"]) == (200, "merged")


def check_that_it_is_gone_when_deleted(stand: Stand, shell: Shell) -> None:
    identifier = stand.device_id("boiler")
    assert stand.api.delete("/devices/boiler").status_code == 204
    began = time.monotonic()
    refused = shell.publish("telemetry", '{"a":1}')
    assert refused.returncode != 0
    assert "connection refused" in refused.stderr.lower()
    assert time.monotonic() - began < 1
    assert stand.api.get("/devices/boiler").status_code == 404
    for collection in ("telemetry", "heartbeats"):
        assert stand.readings(identifier, collection) == []
    assert stand.database["events"].count_documents({"code": "E17"}) == 0


def test_a_wrong_secret_and_a_foreign_topic_open_nothing(stand: Stand) -> None:
    secret, own = stand.create("honest"), f"{stand.org}/honest"
    stand.create("victim")
    refused = Shell(stand, "honest", "guessed").publish("telemetry", "{}")
    assert "connection refused" in refused.stderr.lower()
    login = ["-h", HOST, "-p", str(stand.mqtt_port), "-u", own, "-P", secret, "-q", "1"]
    foreign = ["mosquitto_pub", *login, "-t", f"v1/{stand.org}/victim/telemetry", "-m", '{"a":1}']
    subprocess.run(foreign, capture_output=True, timeout=10, check=False)
    assert Shell(stand, "honest", secret).publish("telemetry", '{"mine":1}').returncode == 0
    until(lambda: bool(stand.readings(stand.device_id("honest"))), 10)
    stand.settled()
    assert stand.readings(stand.device_id("victim")) == []
