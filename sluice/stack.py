"""What `sluice up` runs, worked out before anything starts: programs, ports, secrets, addresses."""

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.settings import Settings
from sluice import binaries, brokers, ports, private, promises
from sluice.binaries import Binary
from sluice.children import Program

Address = tuple[str, int]
LOOPBACK = "127.0.0.1"
_ANY = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to

# Variable and the settings it fills; made once a directory where nobody set them.
_SECRETS = {
    "SLUICE_AUTH_KEY": ("auth", "key"),
    "SLUICE_MQTT_PASSWORD": ("mqtt", "password"),
    "SLUICE_MQTT_CONTROL_PASSWORD": ("mqtt", "control_password"),
}


# By default WiredTiger writes pages out from 5 % of dirty cache on and makes inserts wait at 20 %. Readings
# of many devices dirty one page a device, and each would be written again and again for a few new rows.
# The journal keeps what is not written yet (docs/decisions/0012-dirty-cache.md).
EVICTION = ",".join(
    f"eviction_{kind}_{bound}={percent}"
    for kind in ("dirty", "updates")
    for bound, percent in (("target", 60), ("trigger", 70))
)


@dataclass(frozen=True, slots=True)
class Stack:
    """`urls` are those of run.json; `listeners` are the broker's, `health` has each worker's /readyz."""

    data: Path
    broker_kind: str
    promise: str
    urls: Mapping[str, str]
    databases: tuple[Program, ...]
    init: Program
    broker: Program
    workers: tuple[Program, ...]
    listeners: Mapping[str, Address]
    health: Mapping[str, Address]
    env: Mapping[str, str]


def plan(settings: Settings, data: Path, config: Path | None = None) -> Stack:
    """Finds binaries and ports and makes missing secrets in `data`; raises `BinaryError` and `UpError`."""
    mongod = None if _is_set(settings, "mongo", "url") else binaries.require("mongod")
    redis = None if _is_set(settings, "redis", "url") else binaries.require("redis-server")
    kind = brokers.choose(settings)
    port = _ports(settings, mongod is not None, redis is not None)
    urls = _urls(settings, port)
    env = _environment(settings, data, kind, port, urls)
    if config:
        env["SLUICE_CONFIG"] = str(config.resolve())
    databases = []
    if mongod:
        databases.append(_mongod(mongod, data / "mongo", port["mongod"], env))
    if redis:
        databases.append(_redis(redis, data / "redis", port["redis"], env))
    member = ("--replica-member", f"{LOOPBACK}:{port['mongod']}") if mongod else ()
    return Stack(
        data=data,
        broker_kind=kind,
        promise=promises.of(kind, settings.broker.autosave_on_changes),
        urls=urls,
        databases=tuple(databases),
        init=ours("init", env, *member),
        broker=ours("broker", env),
        workers=tuple(ours(name, env) for name in ("ingest", "api", "jobs")),
        listeners={
            "MQTT": (_reachable(settings.broker.host), port["mqtt"]),
            "WebSocket": (_reachable(settings.broker.host), port["ws"]),
        },
        health={
            "ingest": (LOOPBACK, port["ingest"]),
            "api": (_reachable(settings.http.host), port["http"]),
            "jobs": (LOOPBACK, port["jobs"]),
        },
        env=env,
    )


def ours(command: str, env: Mapping[str, str], *arguments: str, name: str | None = None) -> Program:
    """One of our own commands; -P, since the current directory may hold an `api` folder of its own."""
    argv = (sys.executable, "-P", "-m", "sluice", command, *arguments)
    return Program(name or command, argv, env)


def _is_set(settings: Settings, section: str, field: str) -> bool:
    return field in getattr(settings, section).model_fields_set


def _ports(settings: Settings, mongod: bool, redis: bool) -> dict[str, int]:
    hidden = {"ingest": settings.ingest.health_port, "jobs": settings.jobs.health_port}
    hidden |= {"mongod": 0} if mongod else {}
    hidden |= {"redis": 0} if redis else {}
    http = ports.settle({"http": settings.http.port}, settings.http.host)
    mqtt = ports.settle({"mqtt": settings.broker.port, "ws": settings.broker.ws_port}, settings.broker.host)
    return {**http, **mqtt, **ports.settle(hidden)}


def _urls(settings: Settings, port: Mapping[str, int]) -> dict[str, str]:
    mqtt = _reachable(settings.broker.host)
    mongo = f"mongodb://{LOOPBACK}:{port.get('mongod')}/?directConnection=true"
    redis = f"redis://{LOOPBACK}:{port.get('redis')}/0"
    return {
        "http": f"http://{_reachable(settings.http.host)}:{port['http']}",
        "mqtt": f"mqtt://{mqtt}:{port['mqtt']}",
        "ws": f"ws://{mqtt}:{port['ws']}",
        "mongo": mongo if "mongod" in port else settings.mongo.url.get_secret_value(),
        "redis": redis if "redis" in port else settings.redis.url.get_secret_value(),
    }


def _reachable(host: str) -> str:
    return LOOPBACK if host in _ANY else host


def _environment(
    settings: Settings, data: Path, kind: str, port: Mapping[str, int], urls: Mapping[str, str]
) -> dict[str, str]:
    """What the children's settings come from; secrets travel this way and no other."""
    return {
        **os.environ,
        **_secrets(settings, data / "secrets.json"),
        "SLUICE_DATA": str(data),
        "SLUICE_HTTP_PORT": str(port["http"]),
        "SLUICE_BROKER_KIND": kind,
        "SLUICE_BROKER_PORT": str(port["mqtt"]),
        "SLUICE_BROKER_WS_PORT": str(port["ws"]),
        "SLUICE_MQTT_HOST": _reachable(settings.broker.host),
        "SLUICE_MQTT_PORT": str(port["mqtt"]),
        "SLUICE_MQTT_VERSION": "5" if kind == "mosquitto" else "3.1.1",
        "SLUICE_MONGO_URL": urls["mongo"],
        "SLUICE_REDIS_URL": urls["redis"],
        "SLUICE_INGEST_HEALTH_PORT": str(port["ingest"]),
        "SLUICE_JOBS_HEALTH_PORT": str(port["jobs"]),
    }


def _secrets(settings: Settings, file: Path) -> dict[str, str]:
    kept: dict[str, str] = private.read(file) or {}
    made = {name: kept.get(name) or secrets.token_urlsafe(32) for name in _SECRETS}
    if made != kept:
        private.write(file, made)
    return {name: value for name, value in made.items() if not _is_set(settings, *_SECRETS[name])}


def _mongod(binary: Binary, folder: Path, port: int, env: Mapping[str, str]) -> Program:
    """One member of a replica set, which transactions and change streams need; a small cache and oplog."""
    folder.mkdir(parents=True, exist_ok=True)
    argv = (
        *(str(binary.path), "--dbpath", str(folder), "--bind_ip", LOOPBACK, "--port", str(port)),
        *("--replSet", "sluice", "--oplogSize", "512"),
        *("--wiredTigerCacheSizeGB", "0.5", "--wiredTigerEngineConfigString", EVICTION),
        *("--quiet", "--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false"),
    )
    return Program("mongod", argv, env)


def _redis(binary: Binary, folder: Path, port: int, env: Mapping[str, str]) -> Program:
    """An append-only file and no snapshots beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    argv = (
        *(str(binary.path), "--bind", LOOPBACK, "--port", str(port), "--dir", str(folder)),
        *("--appendonly", "yes", "--save", "", "--daemonize", "no"),
    )
    return Program("redis", argv, env)
