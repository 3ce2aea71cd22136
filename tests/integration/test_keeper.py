"""Ingest while MongoDB is away: the spool, its bound, the proofs, and messages that come twice."""

import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import aiomqtt
import pytest

from core.topics import Uplink
from ingest.directory import Directory
from ingest.observer import Observer
from ingest.pipeline import Pipeline
from ingest.slot import Slot
from ingest.work import Message, Work
from store.dead_letters import DeadLetters
from store.fleet import Fleet
from store.mongo import Document
from store.sequences import Sequences
from store.writes import EventLog, Readings
from tests.rig import FAST, Rig, rig, until
from tests.services import Mongod, Mosquitto

T0 = 1_700_000_000_000
PATH = "acme/press-7"
TOPIC = f"v1/{PATH}/telemetry"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto"), {PATH: "s1"}) as server:
        yield server


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """One that may be stopped."""
    with Mongod(tmp_path_factory.mktemp("own-mongod")) as server:
        yield server


@contextmanager
def frozen(server: Mongod) -> Iterator[None]:
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server._process.pid, signal.SIGCONT)


@pytest.fixture
async def bench(broker: Mosquitto, mongod: Mongod, redis_url: str, tmp_path: Path) -> AsyncIterator[Rig]:
    tight = FAST.model_copy(update={"window": 50, "batch_size": 20, "spool_bytes": 100_000})
    async with rig(broker, mongod.url, redis_url, tmp_path, settings=tight, mongo_timeout_s=0.5) as made:
        yield made


async def test_a_full_spool_stops_the_reading_and_loses_nothing(bench: Rig, mongod: Mongod) -> None:
    device = await bench.create(PATH)
    async with bench.ingest() as worker, bench.device(PATH) as sensor:
        with frozen(mongod):
            await publish_until_full(bench, sensor)
            assert worker._keeper._spool.bytes <= 100_000
            assert worker.ledger.received < 220  # the rest waits at the broker
            assert worker.ledger.in_flight == worker.ledger.received
        await bench.settled(240)
        assert (worker.ledger.stored, worker.intake.held, worker.intake.held_bytes) == (240, 0, 0)
    assert [reading["v"]["n"] for reading in await bench.stored("telemetry", device)] == list(range(240))


async def test_a_stop_with_a_full_spool_leaves_the_rest_to_the_broker(bench: Rig, mongod: Mongod) -> None:
    device = await bench.create(PATH)
    with frozen(mongod):
        async with bench.ingest(), bench.device(PATH) as sensor:
            await publish_until_full(bench, sensor)
    async with bench.ingest() as worker:
        await until(lambda: worker.ledger.received >= 240, "everything again")
        await bench.settled(240)
    assert [reading["v"]["n"] for reading in await bench.stored("telemetry", device)] == list(range(240))


async def publish_until_full(bench: Rig, sensor: aiomqtt.Client) -> None:
    """240 messages without a time, of which the spool takes about 45."""
    for number in range(240):
        body = {"n": number, "a": "a" * 1000, "b": "b" * 1000}
        await sensor.publish(TOPIC, json.dumps(body), qos=1)
    worker = bench.worker
    assert worker is not None
    spool = worker._keeper._spool
    await until(lambda: spool.bytes > 50_000 and worker.intake.held >= 50, "a full spool and window")


async def test_time_is_proven_only_when_the_spool_is_empty(
    bench: Rig, mongod: Mongod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a device whose readings wait on the spool would look silent over the whole outage."""
    monkeypatch.setattr("ingest.worker.Observer", partial(Observer, every_s=0.2))
    await bench.create(PATH)

    async def spans() -> list[Document]:
        return await bench.database["observations"].find().sort("from", 1).to_list()

    async with bench.ingest() as worker, bench.device(PATH) as sensor:
        observer, spool = worker._observer, worker._keeper._spool
        await until(spans, "a first span")
        with frozen(mongod):
            await sensor.publish(TOPIC, b'{"a":1}', qos=1)
            await until(lambda: len(spool), "a message on the spool")
            proven, now = observer.proof, time.time()
            await until(lambda: time.time() > now + 1, "probes behind it")
            assert observer.proof == proven
            assert len(spool) == 1

        async def has_seen_the_end() -> bool:
            return (await spans())[-1]["from"].timestamp() > now + 1

        await until(has_seen_the_end, "a span after the outage")
    outage = [span for span in await spans() if span["from"].timestamp() < now < span["to"].timestamp()]
    assert outage == []


def pipeline(bench: Rig) -> Pipeline:
    fleet = Fleet(bench.database)
    logs = {
        Uplink.TELEMETRY: Readings(bench.database, "telemetry"),
        Uplink.HEARTBEAT: Readings(bench.database, "heartbeats"),
        Uplink.EVENT: EventLog(bench.database),
    }
    directory = Directory(fleet, lambda: 0.0)
    return Pipeline(directory, fleet, logs, DeadLetters(bench.database), Sequences(bench.database))


def delivered(payload: bytes, identity: int, again: bool = False, received: int = T0) -> Work:
    return Work(Message(TOPIC, payload, received, identity, T0 if again else 0, False))


async def test_a_message_and_its_second_delivery_in_one_batch_are_one(bench: Rig) -> None:
    device = await bench.create(PATH)
    own = pipeline(bench)
    batch = [
        delivered(b'{"a":1}', 7),
        delivered(b"broken", 8),
        delivered(b'{"a":1}', 9),
        delivered(b'{"a":1}', 7, again=True),
        delivered(b"broken", 8, again=True),
    ]
    await own.settle(batch)
    assert [work.fate for work in batch] == ["stored", "dead", "stored", "merged", "dead"]
    assert len(await bench.stored("telemetry", device)) == 2
    assert len(await bench.dead_letters()) == 1


async def test_an_older_message_alike_in_everything_is_another(bench: Rig) -> None:
    """Packet ids come round, and a device that repeats itself is not a broker that does."""
    device = await bench.create(PATH)
    own = pipeline(bench)
    payloads = (b'{"door":true}', b"broken")
    await own.settle([delivered(payload, 7, received=T0 - 60_000) for payload in payloads])
    second = [delivered(payload, 7, again=True) for payload in payloads]
    await own.settle(second)
    assert [work.fate for work in second] == ["stored", "dead"]
    assert len(await bench.stored("telemetry", device)) == 2
    assert len(await bench.dead_letters()) == 2


async def test_the_packet_id_of_another_session_proves_nothing(bench: Rig, tmp_path: Path) -> None:
    """Two ingests that share a stream of like messages give out like packet ids."""
    device = await bench.create(PATH)
    one, two = (Slot(tmp_path, f"sluice-ingest-{name}").session << 16 | 7 for name in ("a", "b"))
    assert {Message("", b"", 0, identity, 0, False).packet_id for identity in (one, two)} == {7}
    own = pipeline(bench)
    await own.settle([delivered(b'{"a":1}', one)])
    [again] = batch = [delivered(b'{"a":1}', two, again=True)]
    await own.settle(batch)
    assert again.fate == "stored"
    await own.settle(batch)
    assert again.fate == "merged"
    assert len(await bench.stored("telemetry", device)) == 2
