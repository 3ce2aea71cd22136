"""Ingest on real MongoDB, Redis and Mosquitto: what is published is stored once, merged or dead, and told."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from core.timestamps import EARLIEST_MS
from store.latest import Latest
from store.live import Live
from tests.rig import Rig, next_json, rig, until
from tests.services import Mosquitto

PATH = "acme/press-7"
OTHER = "acme/oven-2"
T0 = 1_700_000_000_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto"), {PATH: "s1", OTHER: "s2"}) as server:
        yield server


@pytest.fixture(params=["5", "3.1.1"])
async def bench(
    request: pytest.FixtureRequest, broker: Mosquitto, mongo_url: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Rig]:
    async with rig(broker, mongo_url, redis_url, tmp_path, version=request.param) as made:
        yield made


async def test_a_reading_is_stored_under_its_own_time(bench: Rig) -> None:
    device = await bench.create(PATH)
    async with bench.ingest(), bench.device(PATH) as sensor:
        await sensor.publish(f"v1/{PATH}/telemetry", json.dumps({"ts": T0, "temperature": 21.4}), qos=1)
        worker = await bench.settled(1)
    [reading] = await bench.stored("telemetry", device)
    assert reading["v"] == {"temperature": 21.4}
    assert reading["ts"].timestamp() * 1000 == T0
    assert bytes(reading["_id"])[12:] == T0.to_bytes(8, "big")
    assert worker.ledger.stored == 1


async def test_the_same_time_twice_merges_and_the_last_value_wins(bench: Rig) -> None:
    device = await bench.create(PATH)
    async with bench.ingest(), bench.device(PATH) as sensor:
        for values in ({"a": 1, "b": 1}, {"b": 2}, {"c": {"x": 1}}):
            await sensor.publish(f"v1/{PATH}/telemetry", json.dumps({"ts": T0, **values}), qos=1)
            await bench.settled(1)  # not all in one batch
        worker = await bench.settled(3)
    [reading] = await bench.stored("telemetry", device)
    assert reading["v"] == {"a": 1, "b": 2, "c": {"x": 1}}
    assert (worker.ledger.stored, worker.ledger.merged) == (1, 2)


async def test_readings_without_time_in_one_message_are_all_kept(bench: Rig) -> None:
    device = await bench.create(PATH)
    async with bench.ingest(), bench.device(PATH) as sensor:
        before = int(time.time() * 1000)
        await sensor.publish(f"v1/{PATH}/telemetry", json.dumps([{"n": n} for n in range(50)]), qos=1)
        await bench.settled(1)
    readings = await bench.stored("telemetry", device)
    assert [reading["v"]["n"] for reading in readings] == list(range(50))
    assert readings[0]["ts"].timestamp() * 1000 >= before


@pytest.mark.parametrize("ts", [12_345, EARLIEST_MS - 1, 4_102_444_800_000])
async def test_a_clock_that_cannot_be_right_is_kept_beside_server_time(bench: Rig, ts: int) -> None:
    device = await bench.create(PATH)
    async with bench.ingest(), bench.device(PATH) as sensor:
        await sensor.publish(f"v1/{PATH}/telemetry", json.dumps({"ts": ts, "a": 1}), qos=1)
        await bench.settled(1)
    [reading] = await bench.stored("telemetry", device)
    assert reading["device_ts"] == (ts * 1000 if ts < 10**11 else ts)
    assert abs(reading["ts"].timestamp() - time.time()) < 60


async def test_bad_messages_are_dead_with_reason_and_bytes_and_the_device_is_told(bench: Rig) -> None:
    await bench.create(PATH)
    payloads = [b"not json", b'{"a":NaN}', b'{"a":1,"a":2}', b'{"a.b":1}', b"\xff\xfe", b"[]", b'{"a":null}']
    async with bench.ingest(), bench.device(PATH, subscribe="error") as sensor:
        for payload in payloads:
            await sensor.publish(f"v1/{PATH}/telemetry", payload, qos=1)
        told = [await next_json(sensor) for _ in payloads]
        await sensor.publish(f"v1/{PATH}/telemetry", b'{"a":1}', qos=1)
        worker = await bench.settled(len(payloads) + 1)
    letters = await bench.dead_letters()
    assert [bytes(letter["payload"]) for letter in letters] == payloads
    codes = ["bad_json", "bad_json", "duplicate_key", "bad_key", "bad_json", "empty", "bad_value"]
    assert [letter["code"] for letter in letters] == codes
    assert [document["code"] for _, document in told] == codes
    assert all(document["topic"] == f"v1/{PATH}/telemetry" for _, document in told)
    assert {(letter["org"], letter["device"]) for letter in letters} == {("acme", "press-7")}
    assert (worker.ledger.dead, worker.ledger.stored) == (len(payloads), 1)


async def test_more_bad_payloads_than_the_window_do_not_stall_the_good_one(
    broker: Mosquitto, mongo_url: str, redis_url: str, tmp_path: Path
) -> None:
    from tests.rig import FAST

    tight = FAST.model_copy(update={"window": 10, "batch_size": 5})
    async with rig(broker, mongo_url, redis_url, tmp_path, settings=tight) as bench:
        device = await bench.create(PATH)
        async with bench.ingest(), bench.device(PATH) as sensor:
            for _ in range(100):
                await sensor.publish(f"v1/{PATH}/telemetry", b"broken", qos=1)
            await sensor.publish(f"v1/{PATH}/telemetry", b'{"a":1}', qos=1)
            worker = await bench.settled(101)
        assert worker.ledger.dead == 100
        assert len(await bench.stored("telemetry", device)) == 1


async def test_a_device_that_is_not_in_the_registry_is_dead(bench: Rig) -> None:
    async with bench.ingest(), bench.device(PATH) as sensor:
        await sensor.publish(f"v1/{PATH}/telemetry", b'{"a":1}', qos=1)
        await bench.settled(1)
    [letter] = await bench.dead_letters()
    assert letter["code"] == "unknown_device"
    assert PATH in letter["detail"]


async def test_heartbeats_and_events_are_stored(bench: Rig) -> None:
    device = await bench.create(PATH)
    async with bench.ingest(), bench.device(PATH) as sensor:
        await sensor.publish(f"v1/{PATH}/heartbeat", b'{"battery":87,"firmware":"1.2.0"}', qos=1)
        await sensor.publish(f"v1/{PATH}/heartbeat", b"", qos=1)
        for code in ("E1", "E2"):  # two in one ms
            await sensor.publish(f"v1/{PATH}/event", json.dumps({"ts": T0, "code": code}), qos=1)
        await sensor.publish(f"v1/{PATH}/event", json.dumps({"ts": T0, "code": "E1"}), qos=1)
        worker = await bench.settled(5)
    heartbeats = await bench.stored("heartbeats", device)
    assert [beat["v"] for beat in heartbeats] == [{"battery": 87, "firmware": "1.2.0"}, {}]
    events = await bench.stored("events", device)
    assert sorted(event["code"] for event in events) == ["E1", "E2"]
    assert {event["level"] for event in events} == {"info"}
    assert (worker.ledger.stored, worker.ledger.merged) == (4, 1)


async def test_receipts_come_after_the_commit_and_count_without_gaps(bench: Rig) -> None:
    device = await bench.create(PATH)
    async with bench.ingest(), bench.device(PATH, subscribe="receipt") as sensor:
        for seq in (1, 2, 4, 3, 4):
            await sensor.publish(
                f"v1/{PATH}/telemetry", json.dumps({"seq": seq, "ts": T0 + seq, "a": seq}), qos=1
            )
            _, told = await next_json(sensor)
            assert told["seq"] == seq
            assert any(reading["v"] == {"a": seq} for reading in await bench.stored("telemetry", device))
            last = told
    assert last == {"status": "merged", "seq": 4, "stored_to": 4, "from": 1}


async def test_a_refused_message_that_counts_gets_a_receipt_too(bench: Rig) -> None:
    await bench.create(PATH)
    async with bench.ingest(), bench.device(PATH, subscribe="receipt") as sensor:
        await sensor.publish(f"v1/{PATH}/telemetry", b'{"seq":7,"a":null}', qos=1)
        _, told = await next_json(sensor)
    assert (told["status"], told["seq"]) == ("dead", 7)


async def test_latest_is_the_newest_by_time_whatever_arrives_last(bench: Rig) -> None:
    device = await bench.create(PATH)
    latest = Latest(bench.redis, bench.database)
    async with bench.ingest(), bench.device(PATH) as sensor:
        for ts, values in ((T0 + 5, {"a": 5}), (T0 + 1, {"a": 1, "b": 1}), (T0 + 3, {"a": 3})):
            await sensor.publish(f"v1/{PATH}/telemetry", json.dumps({"ts": ts, **values}), qos=1)
            await bench.settled(1)
        await bench.settled(3)
        expected = {"a": (T0 + 5, 5), "b": (T0 + 1, 1)}
        await until(lambda: bench.redis.hlen(f"latest:{device.id}"), "latest values in Redis")
        assert await latest.get(device.id) == expected
    await bench.redis.flushdb()
    assert await latest.get(device.id) == expected  # made again from MongoDB
    assert await bench.redis.hlen(f"latest:{device.id}") > 0


async def test_live_frames_carry_every_device_of_the_organisation(bench: Rig) -> None:
    for path in (PATH, OTHER):
        await bench.create(path)
    async with (
        bench.ingest(),
        Live(bench.redis).frames("acme") as frames,
        bench.device(PATH) as one,
        bench.device(OTHER) as two,
    ):
        await one.publish(f"v1/{PATH}/telemetry", json.dumps({"ts": T0, "a": 1}), qos=1)
        await two.publish(f"v1/{OTHER}/telemetry", json.dumps({"ts": T0, "a": 2}), qos=1)
        seen: dict[str, object] = {}
        async with asyncio.timeout(10):
            async for frame in frames:
                document = json.loads(frame)
                if document["type"] == "readings":
                    seen |= document["devices"]
                if len(seen) == 2:
                    break
    assert seen == {"press-7": {"ts": T0, "values": {"a": 1}}, "oven-2": {"ts": T0, "values": {"a": 2}}}


async def test_presence_follows_birth_will_and_being_heard(bench: Rig) -> None:
    device = await bench.create(PATH)

    async def presence() -> dict[str, object]:
        document = await bench.database["devices"].find_one({"path": PATH})
        assert document is not None
        return document["presence"]

    async def becomes(state: str, reason: str) -> None:
        async def held() -> bool:
            now = await presence()
            return (now["state"], now["reason"]) == (state, reason)

        await until(held, f"{state} by {reason}")

    async with bench.ingest(), bench.device(PATH) as sensor:
        status = f"v1/{PATH}/status"
        await sensor.publish(status, b'{"state":"online","session":5}', qos=1, retain=True)
        await becomes("online", "birth")
        await sensor.publish(status, b'{"state":"offline","session":4}', qos=1)  # of an older session
        await bench.settled(2)
        await becomes("online", "birth")
        await sensor.publish(status, b'{"state":"offline","session":5}', qos=1, retain=True)
        await becomes("offline", "will")
        await sensor.publish(f"v1/{PATH}/heartbeat", b"", qos=1)
        await becomes("online", "heard")
        await sensor.publish(status, b"", qos=1, retain=True)
        await bench.settled(5)
    events = await bench.redis.xrange("events:acme")
    kinds = [json.loads(fields[b"event"])["kind"] for _, fields in events]
    assert kinds[-3:] == ["device.online", "device.offline", "device.online"]
    await bench.redis.flushdb()
    assert device.presence.state == "unknown"


async def test_an_inactive_device_that_speaks_is_active_again(bench: Rig) -> None:
    await bench.create(PATH)
    await bench.database["devices"].update_one({"path": PATH}, {"$set": {"lifecycle": "inactive"}})
    async with bench.ingest(), bench.device(PATH) as sensor:
        await sensor.publish(f"v1/{PATH}/telemetry", b'{"a":1}', qos=1)

        async def is_active() -> bool:
            return await bench.database["devices"].find_one({"path": PATH, "lifecycle": "active"}) is not None

        await until(is_active, "active again")


async def test_probes_prove_the_time_in_which_ingest_listens(bench: Rig) -> None:
    async with bench.ingest() as worker:
        worker._observer._every_s = 0.05

        async def span() -> bool:
            document = await bench.database["observations"].find_one()
            return document is not None and document["to"] > document["from"]

        await until(span, "an observed span", within_s=20)
        assert worker.ledger.received == 0  # probes are nobody's messages
