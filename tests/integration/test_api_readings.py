"""Readings in over HTTP and MQTT, and out again: raw, in buckets, newest."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import aiomqtt
import httpx
import pytest

from tests.services import HOST, Mosquitto
from tests.sites import Site, until

START = datetime(2026, 1, 5, tzinfo=UTC)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def send(client: httpx.AsyncClient, name: str, body: Any, kind: str = "telemetry") -> None:
    answer = await client.post(f"/devices/{name}/{kind}", json=body)
    assert answer.status_code == 200, answer.text


async def read(client: httpx.AsyncClient, name: str, **query: Any) -> dict[str, Any]:
    answer = await client.get(f"/devices/{name}/telemetry", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture
async def name(owner: httpx.AsyncClient, device: dict[str, Any]) -> str:
    """A device with 10 readings of `n`, a minute apart, the odd ones with `odd`, and a text at the end."""
    rows: list[Any] = [
        {"ts": at(60 * n), "values": {"n": n, **({"odd": True} if n % 2 else {})}} for n in range(10)
    ]
    await send(owner, device["device"], [*rows, {"ts": at(600), "values": {"n": "ten", "x": {"y": 1.5}}}])
    return str(device["device"])


async def test_raw_readings_page_through_both_orders(owner: httpx.AsyncClient, name: str) -> None:
    expected = [at(60 * n) for n in range(11)]
    for order in ("asc", "desc"):
        found: list[str] = []
        query: dict[str, Any] = {"order": order, "limit": 4}
        while True:
            page = await read(owner, name, **query)
            found += [item["ts"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert found == (expected if order == "asc" else expected[::-1])
    other = await owner.get(f"/devices/{name}/telemetry", params={"order": "asc", "cursor": query["cursor"]})
    assert (other.status_code, other.json()["code"]) == (422, "invalid_cursor")


async def test_newest_comes_first_and_values_are_as_they_were_sent(
    owner: httpx.AsyncClient, name: str
) -> None:
    items = (await read(owner, name, limit=2))["items"]
    assert items == [
        {"ts": at(600), "values": {"n": "ten", "x": {"y": 1.5}}},
        {"ts": at(540), "values": {"n": 9, "odd": True}},
    ]


async def test_from_is_inside_and_to_is_not_in_any_notation(owner: httpx.AsyncClient, name: str) -> None:
    start, end = START + timedelta(seconds=120), START + timedelta(seconds=240)
    for one, two in [
        (at(120), at(240)),
        (str(int(start.timestamp())), str(int(end.timestamp()))),
        (str(int(start.timestamp() * 1000)), str(int(end.timestamp() * 1000))),
        ("2026-01-05T01:02:00+01:00", "2026-01-05T01:04:00 01:00"),
    ]:
        items = (await read(owner, name, **{"from": one, "to": two}))["items"]
        assert [item["ts"] for item in items] == [at(180), at(120)], (one, two)


async def test_keys_select_values_and_leave_out_readings_without_them(
    owner: httpx.AsyncClient, name: str
) -> None:
    items = (await read(owner, name, keys="odd", limit=3))["items"]
    assert [item["values"] for item in items] == [{"odd": True}] * 3
    assert [item["ts"] for item in items] == [at(540), at(420), at(300)]


async def test_buckets_are_columns_and_agree_with_the_readings(owner: httpx.AsyncClient, name: str) -> None:
    kinds = "avg,min,max,sum,count,first,last"
    found = await read(
        owner, name, **{"from": at(0), "to": at(601), "bucket": "5m", "agg": kinds, "keys": "n,odd"}
    )
    assert found["bucket"] == "5m"
    assert found["ts"] == [at(0), at(300), at(600)]
    assert found["columns"]["n"] == {
        "avg": [2.0, 7.0, None],
        "min": [0, 5, None],
        "max": [4, 9, None],
        "sum": [10, 35, 0],
        "count": [5, 5, 0],
        "first": [0, 5, "ten"],
        "last": [4, 9, "ten"],
    }
    assert found["columns"]["odd"]["avg"] == [None, None, None]
    assert found["columns"]["odd"]["first"] == [True, True, None]


async def test_buckets_without_keys_take_every_key_in_the_span(owner: httpx.AsyncClient, name: str) -> None:
    found = await read(owner, name, **{"from": at(0), "to": at(600), "bucket": "1h"})
    assert found["columns"] == {"n": {"avg": [4.5]}, "odd": {"avg": [None]}}
    nothing = await read(owner, name, **{"from": at(-600), "to": at(-1), "bucket": "1h"})
    assert nothing == {"bucket": "1h", "ts": [], "columns": {}}


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"from": "yesterday"}, "'yesterday'"),
        ({"from": "2026-01-05T00:00:00"}, "zone"),
        ({"from": at(60), "to": at(60)}, "is not before"),
        ({"limit": 10_001}, "10000"),
        ({"limit": 0}, "greater than or equal to 1"),
        ({"order": "up"}, "'desc' or 'asc'"),
        ({"keys": "a,$where"}, "'$where' is no key"),
        ({"keys": ",".join(map(str, range(65)))}, "65 keys; the limit is 64"),
        ({"agg": "avg"}, "agg needs bucket"),
        ({"bucket": "5m"}, "bucket needs from"),
        ({"bucket": "0m", "from": at(0)}, "'0m' is not a width from 1s to 1d"),
        ({"bucket": "25h", "from": at(0)}, "'25h'"),
        ({"bucket": "5m", "from": at(0), "agg": "avg,median"}, "'median' is not one of avg"),
        ({"bucket": "1s", "from": at(0), "to": at(86_400), "keys": "n"}, "86400 buckets of 1 columns"),
        ({"bucket": "1s", "from": at(0), "to": at(86_400), "keys": "n"}, "bucket=10s would fit"),
        ({"bucket": "5m", "from": at(0), "cursor": "x"}, "leave out cursor"),
        ({"cursor": "%%"}, "does not belong"),
        ({"page": 3}, "query.page"),
    ],
)
async def test_a_bad_query_is_refused_in_words(
    owner: httpx.AsyncClient, name: str, query: dict[str, Any], says: str
) -> None:
    answer = await owner.get(f"/devices/{name}/telemetry", params=query)
    assert answer.status_code == 422, answer.text
    assert says in answer.json()["detail"]


async def test_latest_is_the_newest_by_its_own_time(owner: httpx.AsyncClient, name: str) -> None:
    await send(owner, name, {"ts": at(30), "late": 1, "n": -1})

    async def is_there() -> bool:
        values = (await owner.get(f"/devices/{name}/latest")).json()["values"]
        return "late" in values and values["n"] == {"ts": at(600), "value": "ten"}

    await until(is_there)


async def test_a_clock_that_is_wrong_is_kept_beside_the_servers_time(
    owner: httpx.AsyncClient, device: dict[str, Any]
) -> None:
    await send(owner, device["device"], {"ts": 1000, "n": 1})
    item = (await read(owner, device["device"]))["items"][0]
    assert item["device_ts"] == "1970-01-01T00:16:40.000Z"
    assert item["ts"] > at(0)


async def test_the_same_reading_twice_is_merged(owner: httpx.AsyncClient, device: dict[str, Any]) -> None:
    path = f"/devices/{device['device']}/telemetry"
    assert (await owner.post(path, json={"ts": at(0), "a": 1})).json() == {"status": "stored"}
    assert (await owner.post(path, json={"ts": at(0), "b": 2})).json() == {"status": "merged"}
    assert (await read(owner, device["device"]))["items"] == [{"ts": at(0), "values": {"a": 1, "b": 2}}]


async def test_what_ingest_refuses_is_422_with_its_reason(
    owner: httpx.AsyncClient, device: dict[str, Any]
) -> None:
    path = f"/devices/{device['device']}/telemetry"
    answer = await owner.post(path, json={"a.b": 1})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_key")
    assert "'a.b'" in answer.json()["detail"]
    assert (await owner.post(path, content=b"\xff{")).status_code == 422


async def test_a_message_over_the_limit_is_413(owner: httpx.AsyncClient, device: dict[str, Any]) -> None:
    answer = await owner.post(f"/devices/{device['device']}/telemetry", content=b"x" * (256 * 1024 + 1))
    assert (answer.status_code, answer.json()["limit"]) == (413, 256 * 1024)


async def test_a_device_sends_for_itself_with_its_secret(
    anybody: httpx.AsyncClient, owner: httpx.AsyncClient, device: dict[str, Any]
) -> None:
    path = f"demo/{device['device']}"
    auth = httpx.BasicAuth(path, device["secret"])
    url = f"/devices/{device['device']}"
    assert (await anybody.post(f"{url}/telemetry", json={"a": 1}, auth=auth)).json() == {"status": "stored"}
    assert (await anybody.post(f"{url}/heartbeat", json={"battery": 87}, auth=auth)).status_code == 200
    beats = (await owner.get(f"{url}/heartbeats")).json()["items"]
    assert [item["values"] for item in beats] == [{"battery": 87}]
    wrong = await anybody.post(f"{url}/telemetry", json={"a": 1}, auth=httpx.BasicAuth(path, "wrong"))
    assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_secret")
    unknown = httpx.BasicAuth("demo/none", device["secret"])
    assert (await anybody.post(f"{url}/telemetry", json={"a": 1}, auth=unknown)).status_code == 401
    assert (await anybody.post("/devices/other/telemetry", json={"a": 1}, auth=auth)).status_code == 404
    assert (await anybody.get(f"{url}/telemetry", auth=auth)).status_code == 401


async def test_readings_and_events_sent_over_mqtt_are_there(
    owner: httpx.AsyncClient, device: dict[str, Any], api_broker: Mosquitto
) -> None:
    prefix = f"v1/demo/{device['device']}"
    async with aiomqtt.Client(
        HOST, api_broker.broker.port, username=f"demo/{device['device']}", password=device["secret"]
    ) as sensor:
        await sensor.publish(f"{prefix}/telemetry", json.dumps({"ts": at(0), "n": 1}), qos=1)
        for number in range(3):
            entry = {"level": "warning", "code": "E1", "message": f"m{number}", "data": {"n": number}}
            await sensor.publish(f"{prefix}/event", json.dumps({"ts": at(5), **entry}), qos=1)
        await sensor.publish(f"{prefix}/event", json.dumps({"ts": at(9), "message": "last"}), qos=1)

    async def is_there() -> bool:
        return len((await owner.get(f"/devices/{device['device']}/events")).json()["items"]) == 4

    await until(is_there)
    assert (await read(owner, device["device"]))["items"] == [{"ts": at(0), "values": {"n": 1}}]
    found: list[Any] = []
    query: dict[str, Any] = {"limit": 3}
    while query:
        page = (await owner.get(f"/devices/{device['device']}/events", params=query)).json()
        found += page["items"]
        query = {"limit": 3, "cursor": page["next_cursor"]} if page["next_cursor"] else {}
    assert [entry["ts"] for entry in found] == [at(9), at(5), at(5), at(5)]
    assert {entry["message"] for entry in found} == {"last", "m0", "m1", "m2"}
    assert found[1]["level"] == "warning"
    chosen = (await owner.get(f"/devices/{device['device']}/events?fields=ts,message&limit=1")).json()
    assert chosen["items"] == [{"ts": at(9), "message": "last"}]


async def test_a_page_of_ten_thousand_readings(
    owner: httpx.AsyncClient, device: dict[str, Any], site: Site
) -> None:
    for block in range(11):
        rows = [
            {"ts": at(block * 1000 + n), "a": n, "b": secrets.randbelow(99), "c": 0.5} for n in range(1000)
        ]
        await send(owner, device["device"], rows)
    page = await read(owner, device["device"], limit=10_000)
    assert (len(page["items"]), page["items"][0]["ts"]) == (10_000, at(10_999))
    assert page["next_cursor"] is not None
