"""The registry over HTTP: what is created can log in at once, what is deleted cannot and leaves nothing."""

import asyncio
import secrets
from typing import Any

import aiomqtt
import httpx
import pytest

from store import mongo
from tests.services import HOST, Mosquitto
from tests.sites import OTHER, Site, until


async def can_log_in(broker: Mosquitto, device: dict[str, Any]) -> bool:
    try:
        async with aiomqtt.Client(
            HOST,
            broker.broker.port,
            username=f"{device['org']}/{device['device']}",
            password=device["secret"],
        ):
            return True
    except aiomqtt.MqttError:
        return False


async def test_a_created_device_is_answered_whole_and_can_log_in(
    owner: httpx.AsyncClient, api_broker: Mosquitto
) -> None:
    name = f"boiler-{secrets.token_hex(4)}"
    form = {
        "device": name,
        "name": "Boiler, north",
        "type": "boiler",
        "tags": ["north", "heating", "north"],
        "metadata": {"floor": 2, "where": {"lat": 52.5, "lon": [13, 4]}},
        "silent_after_s": 3600,
    }
    created = await owner.post("/devices", json=form)
    assert created.status_code == 201
    assert created.headers["Location"] == f"/api/v1/devices/{name}"
    assert created.headers["ETag"] == '"1"'
    body = created.json()
    assert len(body.pop("secret")) >= 32
    assert body["tags"] == ["north", "heating"]
    assert body["presence"] == {"state": "unknown", "since": None, "reason": None}
    assert body["created"].endswith("Z")
    assert len(body["created"]) == len("2026-11-22T12:00:00.000Z")
    assert (await owner.get(f"/devices/{name}")).json() == body
    assert await can_log_in(api_broker, created.json())
    assert not await can_log_in(api_broker, {**created.json(), "secret": "wrong"})


async def test_a_taken_name_is_409_in_one_organisation_and_free_in_another(
    owner: httpx.AsyncClient, site: Site, device: dict[str, Any]
) -> None:
    again = await owner.post("/devices", json={"device": device["device"]})
    assert (again.status_code, again.json()["code"]) == (409, "device_exists")
    async with site.client(OTHER) as other:
        assert (await other.post("/devices", json={"device": device["device"]})).status_code == 201


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"device": "Boiler 1"}, "Boiler 1"),
        ({"device": "x" * 64}, "body.device"),
        ({"device": "a", "metadata": {"a.b": 1}}, "'a.b' holds '.'"),
        ({"device": "a", "metadata": {"$gt": 1}}, "'$gt' holds '$'"),
        ({"device": "a", "metadata": {"a\0": 1}}, "NUL"),
        ({"device": "a", "metadata": {"big": "x" * 20_000}}, "the limit is 16384"),
        ({"device": "a", "metadata": {"n": 2**63}}, "beyond 64 bits"),
        ({"device": "a", "metadata": {"a": {"b": {"c": {"d": {}}}}}}, "deeper than 4"),
        ({"device": "a", "tags": ["x"] * 33}, "32"),
        ({"device": "a", "tags": ["a,b"]}, "body.tags.0"),
        ({"device": "a", "silent_after_s": 0}, "greater than 0"),
        ({"device": {"$gt": ""}}, "body.device"),
        ({"device": "a", "secret": "mine"}, "body.secret"),
        ({}, "body.device"),
        ([], "body"),
    ],
)
async def test_a_bad_form_is_refused_naming_value_and_limit(
    owner: httpx.AsyncClient, form: Any, says: str
) -> None:
    answer = await owner.post("/devices", json=form)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert says in answer.text.replace('\\"', '"')


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
async def test_numbers_that_json_lacks_are_refused(owner: httpx.AsyncClient, number: str) -> None:
    content = f'{{"device":"nan","metadata":{{"n":{number}}}}}'
    answer = await owner.post("/devices", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "content",
    [
        '{"device":"half","metadata":{"n":"\\ud800"}}',
        '{"device":"half","metadata":{"\\ud800":1}}',
        '{"device":"half","\\ud800":1}',
        '{"device":"\\ud800"}',
    ],
)
async def test_half_a_surrogate_pair_is_refused(owner: httpx.AsyncClient, content: str) -> None:
    answer = await owner.post("/devices", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


async def test_patch_changes_what_is_sent_and_only_at_the_version_that_was_read(
    owner: httpx.AsyncClient, device: dict[str, Any]
) -> None:
    path = f"/devices/{device['device']}"
    first = await owner.patch(path, json={"name": "one", "tags": ["a"]}, headers={"If-Match": '"1"'})
    assert (first.status_code, first.headers["ETag"]) == (200, '"2"')
    stale = await owner.patch(path, json={"name": "two"}, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "outdated")
    foreign = await owner.patch(path, json={"name": "two"}, headers={"If-Match": "W/nonsense"})
    assert foreign.status_code == 412
    any_version = await owner.patch(path, json={"name": None}, headers={"If-Match": "*"})
    assert (any_version.json()["name"], any_version.json()["tags"]) == (None, ["a"])
    assert (await owner.patch(path, json={})).status_code == 422
    assert (await owner.patch(path, json={"lifecycle": "inactive"})).status_code == 422


async def test_listing_pages_through_all_in_order_and_selects_fields(
    site: Site,
) -> None:
    org = f"org-{secrets.token_hex(4)}"
    await site.add_user(org, f"{org}@sluice.local", "owner")
    async with site.client(f"{org}@sluice.local") as client:
        for number in range(5):
            assert (await client.post("/devices", json={"device": f"d-{number}"})).status_code == 201
        found: list[Any] = []
        query: dict[str, Any] = {"limit": 2, "fields": "device,tags"}
        while True:
            page = (await client.get("/devices", params=query)).json()
            found += page["items"]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert found == [{"device": f"d-{number}", "tags": []} for number in range(5)]
        bad = await client.get("/devices", params={"fields": "device,password"})
        assert (bad.status_code, "password" in bad.json()["detail"]) == (422, True)
        wrong = await client.get("/devices", params={"cursor": "bm90aGluZw"})
        assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_cursor")
        assert (await client.get("/devices", params={"page": 2})).status_code == 422
        assert (await client.get("/devices", params={"limit": 1001})).status_code == 422


async def test_another_organisations_device_is_not_found(site: Site, device: dict[str, Any]) -> None:
    path = f"/devices/{device['device']}"
    async with site.client(OTHER) as other:
        for method, below in [
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/credentials/rotate"),
            ("GET", "/telemetry"),
            ("POST", "/telemetry"),
            ("POST", "/heartbeat"),
            ("GET", "/latest"),
            ("GET", "/events"),
            ("GET", "/heartbeats"),
        ]:
            answer = await other.request(
                method, path + below, json={"name": "x"} if method == "PATCH" else None
            )
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, below)


async def test_rotation_ends_the_old_secret_and_its_connection(
    owner: httpx.AsyncClient, device: dict[str, Any], api_broker: Mosquitto
) -> None:
    path = f"{device['org']}/{device['device']}"
    async with aiomqtt.Client(HOST, api_broker.broker.port, username=path, password=device["secret"]) as old:
        answer = await owner.post(f"/devices/{device['device']}/credentials/rotate")
        assert answer.status_code == 200
        with pytest.raises(aiomqtt.MqttError):
            await asyncio.wait_for(anext(old.messages), 5)
    assert not await can_log_in(api_broker, device)
    assert await can_log_in(api_broker, {**device, "secret": answer.json()["secret"]})


async def test_a_deleted_device_is_cut_off_and_leaves_no_data(
    owner: httpx.AsyncClient, site: Site, device: dict[str, Any], api_broker: Mosquitto
) -> None:
    path = f"/devices/{device['device']}"
    sent = await owner.post(f"{path}/telemetry", json={"temperature": 1})
    assert sent.json() == {"status": "stored"}, sent.text
    assert (await owner.delete(path, headers={"If-Match": '"99"'})).status_code == 412
    assert (await owner.delete(path)).status_code == 204
    assert (await owner.get(path)).status_code == 404
    assert (await owner.delete(path)).status_code == 404
    assert not await can_log_in(api_broker, device)
    again = await owner.post("/devices", json={"device": device["device"]})
    assert again.status_code == 201
    assert (await owner.get(f"{path}/telemetry")).json() == {"items": [], "next_cursor": None}
    assert (await owner.get(f"{path}/latest")).json() == {"values": {}}


async def test_changes_are_audited_without_secrets(
    owner: httpx.AsyncClient, site: Site, device: dict[str, Any]
) -> None:
    path = f"/devices/{device['device']}"
    await owner.patch(path, json={"name": "after"})
    await owner.post(f"{path}/credentials/rotate")
    await owner.delete(path)
    own = site.settings.mongo
    async with mongo.connect(own.url.get_secret_value(), own.database, own.timeout_s) as database:
        query = {"object": f"device/{device['device']}"}
        entries = await database["audit"].find(query).sort("_id", 1).to_list()
    actions = [entry["action"] for entry in entries]
    assert actions == ["device.create", "device.patch", "device.rotate_secret", "device.delete"]
    assert (entries[1]["before"], entries[1]["after"]) == ({"name": None}, {"name": "after"})
    assert "secret" not in str([(entry["before"], entry["after"]) for entry in entries])


async def test_dashboards_are_told_over_mqtt(owner: httpx.AsyncClient, api_broker: Mosquitto) -> None:
    name = f"told-{secrets.token_hex(4)}"
    heard: list[str] = []
    login = api_broker.login("_service")
    async with aiomqtt.Client(
        login.host, login.port, username=login.username, password=login.password
    ) as dashboard:
        await dashboard.subscribe("v1/demo/_events/+")
        await owner.post("/devices", json={"device": name})
        await owner.delete(f"/devices/{name}")

        async def both() -> bool:
            return len(heard) == 2

        async def listen() -> None:
            async for message in dashboard.messages:
                kind, body = message.topic.value.rpartition("/")[2], str(message.payload)
                heard.extend([kind] if name in body else [])

        listening = asyncio.create_task(listen())
        try:
            await until(both)
        finally:
            listening.cancel()
    assert heard == ["device.created", "device.deleted"]
