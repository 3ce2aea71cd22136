"""Servers that many tests share; a test that stops one starts its own."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.services import Mongod, RedisServer

# The same examples on every run, and no time limit on one: the machine may be busy.
settings.register_profile("sluice", deadline=None, derandomize=True)
settings.load_profile("sluice")


@pytest.fixture(scope="session")
def mongo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Mongod(tmp_path_factory.mktemp("mongod")) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url
