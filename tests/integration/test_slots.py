"""Several ingests on one data directory: each its own slot, and none that is left behind."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from config.settings import Mqtt, load
from core.access import SERVICE
from ingest.slot import SlotTaken, taken
from sluice.wiring import ingest as wiring
from tests.rig import FAST, rig, until
from tests.services import HOST, Mosquitto

PATH = "acme/press-7"
SHARED = FAST.model_copy(update={"share": "sluice"})


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto"), {PATH: "s1"}) as server:
        yield server


def test_each_ingest_has_its_own_slot_and_comes_back_to_it(tmp_path: Path) -> None:
    with taken(tmp_path) as one, taken(tmp_path) as two:
        assert (one.folder.name, two.folder.name) == ("ingest-0", "ingest-1")
        assert one.client_id != two.client_id
    with taken(tmp_path) as again:
        assert again == one


def test_without_sharing_a_second_ingest_is_refused(tmp_path: Path) -> None:
    with (
        taken(tmp_path, shared=False),
        pytest.raises(SlotTaken, match="ingest-0"),
        taken(tmp_path, shared=False),
    ):
        pass


def test_filters_of_earlier_settings_are_remembered(tmp_path: Path) -> None:
    with taken(tmp_path) as slot:
        assert slot.earlier_filters(["$share/g/a", "p"]) == []
        assert slot.earlier_filters(["a", "p"]) == ["$share/g/a"]
    with taken(tmp_path) as slot:
        assert slot.earlier_filters(["$share/g/a", "p"]) == ["a"]


async def test_the_messages_of_an_ingest_that_is_gone_are_adopted(
    broker: Mosquitto, mongo_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "ADOPT_EVERY_S", 0.3)
    async with rig(broker, mongo_url, redis_url, tmp_path, settings=SHARED) as bench:
        device = await bench.create(PATH)
        with taken(tmp_path) as slot:
            async with bench.ingest():
                pass  # ingest-1 was here, and the broker keeps its session
            mqtt = Mqtt(host=HOST, port=broker.broker.port, password=SecretStr(broker.users[SERVICE]))
            settings = load(data=tmp_path, mqtt=mqtt, ingest=SHARED)
            process = wiring.Process(settings, wiring.stores(bench.database, bench.redis))
            task = asyncio.create_task(process.run(slot))
            try:
                async with bench.device(PATH) as sensor:
                    for number in range(40):
                        reading = {"ts": 1_700_000_000_000 + number, "n": number}
                        await sensor.publish(f"v1/{PATH}/telemetry", json.dumps(reading), qos=1)

                async def all_stored() -> bool:
                    return len(await bench.stored("telemetry", device)) == 40

                await until(all_stored, "the readings dealt to both sessions")
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def test_a_change_of_sharing_leaves_no_second_subscription(
    broker: Mosquitto, mongo_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Both filters in one session would bring every message twice."""
    async with rig(broker, mongo_url, redis_url, tmp_path, settings=SHARED) as bench:
        device = await bench.create(PATH)
        async with bench.ingest():
            pass
        bench.settings = FAST
        async with bench.ingest(), bench.device(PATH) as sensor:
            for number in range(20):
                await sensor.publish(f"v1/{PATH}/telemetry", json.dumps({"n": number}), qos=1)
            worker = await bench.settled(20)
            await asyncio.sleep(0.2)
        assert worker.ledger.received == 20
        assert len(await bench.stored("telemetry", device)) == 20
