"""A running api for tests, with what they ask of it."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from pwdlib import PasswordHash

from config.settings import Settings
from store import mongo
from store.users import Role, Users
from tests.services import HOST, Mosquitto, free_port

PASSWORD = "correct horse"
OWNER = "owner@sluice.local"
OTHER = "other@sluice.local"


@dataclass(frozen=True)
class Site:
    """A running api; `settings` are those that it runs with."""

    settings: Settings

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.settings.http.port}"

    @asynccontextmanager
    async def client(
        self, email: str | None = OWNER, password: str = PASSWORD
    ) -> AsyncIterator[httpx.AsyncClient]:
        """Logged in, or not where `email` is None; paths are below /api/v1."""
        async with httpx.AsyncClient(base_url=f"{self.url}/api/v1", timeout=20) as client:
            if email is not None:
                answer = await client.post("/auth/login", json={"email": email, "password": password})
                assert answer.status_code == 200, answer.text
                client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            yield client

    async def add_user(self, org: str, email: str, role: Role) -> None:
        url, own = self.settings.mongo.url.get_secret_value(), self.settings.mongo
        async with mongo.connect(url, own.database, own.timeout_s) as database:
            hashed = PasswordHash.recommended().hash(PASSWORD)
            await Users(database).create(org, email, hashed, role, datetime.now(UTC))


async def until(happened: Callable[[], Awaitable[bool]], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not await happened():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.05)


def site_settings(
    folder: Path, broker: Mosquitto, mongo_url: str, redis_url: str, **sections: Any
) -> Settings:
    values: dict[str, Any] = {
        "data": folder,
        "owner": {"email": OWNER, "password": PASSWORD},
        "mqtt": {
            "port": broker.broker.port,
            "password": broker.services["_service"],
            "control_password": broker.services["_control"],
        },
        "mongo": {"url": mongo_url, "database": f"test-{secrets.token_hex(4)}"},
        "redis": {"url": redis_url},
        "http": {"port": free_port()},
        "auth": {"key": secrets.token_hex(32)},
    }
    return Settings.model_validate({**values, **sections})


@asynccontextmanager
async def running(process: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Stops it by cancelling, as a signal does; what it raises by itself fails the test."""
    task = asyncio.create_task(process, name=name)
    try:
        yield
    finally:
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(results[0], asyncio.CancelledError | None):
            raise results[0]


async def answers(url: str, status: int) -> bool:
    async with httpx.AsyncClient() as client:
        try:
            return (await client.get(url)).status_code == status
        except httpx.TransportError:
            return False
