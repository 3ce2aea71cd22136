"""Servers that many tests share; a test that stops one starts its own."""

from collections.abc import Iterator

import pytest

from tests.services import Mongod, RedisServer


@pytest.fixture(scope="session")
def mongo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Mongod(tmp_path_factory.mktemp("mongod")) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url
