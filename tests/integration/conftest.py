"""The api over real databases and a real Mosquitto, with ingest behind it."""

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from sluice.bootstrap import init
from sluice.wiring import api, ingest
from tests.services import Mosquitto
from tests.sites import OTHER, Site, answers, running, site_settings, until


@pytest.fixture(scope="session")
def api_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto"), {}) as server:
        yield server


@pytest.fixture(scope="session")
async def site(
    tmp_path_factory: pytest.TempPathFactory, api_broker: Mosquitto, mongo_url: str, redis_url: str
) -> AsyncIterator[Site]:
    """Two organisations: `demo` of OWNER, `rival` of OTHER; and one user of each other role in `demo`."""
    settings = site_settings(tmp_path_factory.mktemp("site"), api_broker, mongo_url, redis_url)
    await init(settings)
    found = Site(settings)
    await found.add_user("rival", OTHER, "owner")
    for role in ("admin", "operator", "viewer"):
        await found.add_user("demo", f"{role}@sluice.local", role)
    async with running(api.run(settings), "api"), running(ingest.run(settings), "ingest"):
        await until(lambda: answers(f"{found.url}/readyz", 200))
        yield found


@pytest.fixture
async def owner(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client() as client:
        yield client


@pytest.fixture
async def anybody(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client(None) as client:
        yield client


@pytest.fixture
async def device(owner: httpx.AsyncClient) -> dict[str, Any]:
    """A new device with its secret."""
    name = f"d-{secrets.token_hex(4)}"
    answer = await owner.post("/devices", json={"device": name})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())
