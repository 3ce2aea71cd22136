"""How long ingest takes its own word for who a device is."""

from collections.abc import Iterable
from typing import cast

import pytest

from core.presence import Presence
from ingest.directory import MAX_DEVICES, TTL_S, UNTOLD_TTL_S, Directory
from store.fleet import Fleet, KnownDevice


class Registry:
    """The one method of `Fleet` that a directory calls; `asked` holds what came through."""

    def __init__(self, *paths: str) -> None:
        self.paths = set(paths)
        self.asked: list[str] = []

    async def resolve(self, paths: Iterable[str]) -> dict[str, KnownDevice]:
        asked = list(paths)
        self.asked += asked
        return {path: known(path) for path in asked if path in self.paths}


def known(path: str) -> KnownDevice:
    org, device = path.split("/")
    return KnownDevice(path.encode(), path, path, org, device, Presence(), is_active=True)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def directory(registry: Registry, clock: Clock, is_told: bool = True) -> Directory:
    made = Directory(cast("Fleet", registry), clock)
    made.is_told = is_told
    return made


async def test_a_device_is_asked_for_once_while_edits_are_told() -> None:
    registry, clock = Registry("a/b"), Clock()
    own = directory(registry, clock)
    for clock.now in (0.0, 1.0, TTL_S - 0.1):
        assert (await own.resolve(["a/b", "a/b"]))["a/b"] is not None
    assert registry.asked == ["a/b"]
    clock.now = TTL_S
    await own.resolve(["a/b"])
    assert registry.asked == ["a/b", "a/b"]


async def test_without_news_of_edits_a_device_is_kept_briefly() -> None:
    registry, clock = Registry("a/b"), Clock()
    own = directory(registry, clock, is_told=False)
    await own.resolve(["a/b"])
    registry.paths.clear()
    clock.now = UNTOLD_TTL_S
    assert (await own.resolve(["a/b"]))["a/b"] is None


async def test_a_new_device_is_found_soon() -> None:
    registry, clock = Registry(), Clock()
    own = directory(registry, clock)
    assert (await own.resolve(["a/b"]))["a/b"] is None
    registry.paths.add("a/b")
    clock.now = UNTOLD_TTL_S
    assert (await own.resolve(["a/b"]))["a/b"] is not None


async def test_what_is_forgotten_is_asked_for_again() -> None:
    registry, clock = Registry("a/b", "a/c"), Clock()
    own = directory(registry, clock)
    await own.resolve(["a/b", "a/c"])
    own.forget("a/b")
    own.forget("never/seen")
    await own.resolve(["a/b", "a/c"])
    assert sorted(registry.asked) == ["a/b", "a/b", "a/c"]
    clock.now = 1.0
    own.forget_all()
    await own.resolve(["a/c"])
    assert registry.asked[2:] == ["a/b", "a/c"]


@pytest.mark.parametrize("how", ["expired", "forgotten", "all forgotten"])
async def test_server_times_go_on_when_a_device_is_asked_for_again(how: str) -> None:
    clock = Clock()
    own = directory(Registry("a/b"), clock)
    device = (await own.resolve(["a/b"]))["a/b"]
    assert device is not None
    assert [device.stamp(100), device.stamp(100)] == [100, 101]
    clock.now = TTL_S if how == "expired" else 1.0
    if how == "forgotten":
        own.forget("a/b")
    if how == "all forgotten":
        own.forget_all()
    again = (await own.resolve(["a/b"]))["a/b"]
    assert again is not None
    assert again is not device
    assert again.stamp(100) == 102


async def test_memory_is_bounded() -> None:
    own = directory(Registry(), Clock())
    await own.resolve(f"a/{number}" for number in range(MAX_DEVICES))
    assert set(await own.resolve(["a/1", "b/1"])) == {"a/1", "b/1"}
    assert len(own._devices) == 1
