"""`sluice broker`: Mosquitto with every device's login, or the embedded broker that asks MongoDB itself."""

import asyncio
import hmac
import os
from typing import NoReturn

import structlog

from broker import mosquitto
from broker.mosquitto import MosquittoError
from config.settings import Settings
from core.access import CONTROL, SERVICE
from core.secrets import HashedSecret, matches
from sluice import brokers
from sluice.errors import SettingError
from store import mongo
from store.devices import Devices
from store.errors import StoreAway

log = structlog.get_logger()

_RETRY_FIRST_S, _RETRY_LONGEST_S = 0.1, 5.0


async def run(settings: Settings) -> None:
    """With Mosquitto this process becomes it, so that the pid that the supervisor knows is the broker's.

    Raises `SettingError` and `BinaryError`.
    """
    url = settings.mongo.url.get_secret_value()
    async with mongo.connect(url, settings.mongo.database, settings.mongo.timeout_s) as database:
        devices = Devices(database)
        if settings.broker.kind == "amqtt":
            await _amqtt(settings, devices)
        logins = await _logins(devices)
    installed, folder = brokers.mosquitto_here(), settings.data / "mosquitto"
    try:
        argv = mosquitto.write(folder, installed, settings.broker, settings.mqtt, logins.items())
    except MosquittoError as error:
        raise SettingError(str(error)) from error
    log.info("broker_starting", kind="mosquitto", devices=len(logins), port=settings.broker.port)
    os.execv(argv[0], argv)  # noqa: S606 - our own command line


async def _amqtt(settings: Settings, devices: Devices) -> NoReturn:
    from broker.embedded.server import serve  # noqa: PLC0415 - a third of a second, which Mosquitto's start is spared

    services = {
        SERVICE: settings.mqtt.password.get_secret_value(),
        CONTROL: settings.mqtt.control_password.get_secret_value(),
    }

    async def may_connect(username: str, password: str) -> bool:
        if username in services:
            return _same(password, services[username])
        hashed = await devices.credential(username)
        return hashed is not None and matches(password, hashed)

    own = settings.broker
    async with serve(own.host, own.port, own.ws_port, may_connect):
        while True:
            await asyncio.Event().wait()


def _same(given: str, expected: str) -> bool:
    """An empty password is one that nobody has set: it opens nothing."""
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())


async def _logins(devices: Devices) -> dict[str, HashedSecret]:
    """Every device's, as soon as MongoDB is there: a broker without them would turn the fleet away."""
    pause = _RETRY_FIRST_S
    while True:
        try:
            return {path: secret async for path, secret in devices.credentials()}
        except StoreAway as error:
            log.warning("mongo_away", error=str(error), retry_in_s=pause)
        await asyncio.sleep(pause)
        pause = min(_RETRY_LONGEST_S, pause * 2)
