"""`sluice simulate`: a fleet of devices over real MQTT, or one device that replays a recorded series."""
# ruff: noqa: PLC0415 - what it runs is imported when it runs

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from config.settings import Settings, load
from sluice import logs, private, process
from sluice.errors import SluiceError

if TYPE_CHECKING:
    from simulator.fleet import Endpoint
    from simulator.script import Habits
    from simulator.tally import Tally

DEVICES = 10
READ_EVERY_S = 5.0  # each device, where no rate is given


class SimulateError(SluiceError):
    """The message names the option or the file at fault."""


def simulate(
    *,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Devices. Default 10, or all in the file.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Readings a second, all devices together. Default N/5.")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which to stop. Default: at Ctrl-C.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same devices.")] = 0,
    steady: Annotated[bool, typer.Option("--steady", help="No pauses, cuts or doubles.")] = False,
    replay: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="CSV to replay: timestamp,value.")
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0, help="Replay this many times as fast as recorded; 0: at once.")
    ] = 1.0,
    device: Annotated[str | None, typer.Option(help="Device that replays. Default: the file's name.")] = None,
    key: Annotated[str, typer.Option(help="Key of the replayed values.")] = "value",
    credentials: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help='{"org/device": secret} as JSON.'),
    ] = None,
    api: Annotated[
        str | None, typer.Option(help="Where devices are made without a file. Default: run.json's.")
    ] = None,
    mqtt: Annotated[str | None, typer.Option(help="mqtt://HOST:PORT. Default: run.json's, or set.")] = None,
    data: Annotated[Path | None, typer.Option(help="Directory of `sluice up`. Default .sluice.")] = None,
) -> None:
    """Publish as devices do, and print a summary as JSON."""
    from simulator.tally import Tally

    settings = load(None) if data is None else load(None, data=data)
    logs.set_up(settings.log.level, settings.log.format)
    tally = Tally()
    try:
        endpoint = _endpoint(settings, mqtt)
        if replay:
            names = [device or _slug(replay.stem)]
            logins = _logins(settings, credentials, api, names)
            run = _replay(endpoint, _one(logins, names[0]), replay, key, speed, tally)
        else:
            names = [f"sim-{number:04}" for number in range(1, (devices or DEVICES) + 1)]
            logins = dict(list(_logins(settings, credentials, api, names).items())[:devices])
            run = _fleet(endpoint, logins, _habits(len(logins), rate, steady), seed, duration, tally)
        process.run(run)
    except SluiceError as error:
        typer.echo(f"sluice: {error}", err=True)
        raise typer.Exit(1) from None
    finally:
        if tally.devices:
            typer.echo(json.dumps(tally.summary()))


async def _fleet(
    endpoint: "Endpoint",
    logins: dict[str, str],
    habits: "Habits",
    seed: int,
    duration_s: float | None,
    tally: "Tally",
) -> None:
    from simulator.fleet import run_fleet

    await run_fleet(endpoint, logins, habits, tally, seed, duration_s)


async def _replay(
    endpoint: "Endpoint", login: tuple[str, str], file: Path, key: str, speed: float, tally: "Tally"
) -> None:
    from broker.login import BrokerAway
    from simulator.replay import ReplayError, read_series, replay

    try:
        await replay(endpoint.login(*login), read_series(file), key, speed, tally)
    except (ReplayError, BrokerAway) as error:
        raise SimulateError(str(error)) from error


def _habits(devices: int, rate: float | None, steady: bool) -> "Habits":
    from simulator.script import Habits

    read_every_s = devices / rate if rate else READ_EVERY_S
    if steady:
        return Habits(read_every_s=read_every_s, pause_every_s=0, repeat=0)
    return Habits(read_every_s=read_every_s)


def _endpoint(settings: Settings, mqtt: str | None) -> "Endpoint":
    """`mqtt`, else run.json's broker, else the one in the settings."""
    from simulator.fleet import Endpoint

    url = mqtt or (private.read(settings.data / "run.json") or {}).get("mqtt")
    if url is None:
        return Endpoint(settings.mqtt.host, settings.mqtt.port)
    parts = urlsplit(url)
    if parts.scheme != "mqtt" or not parts.hostname:
        raise SimulateError(f"--mqtt {url!r} is not mqtt://HOST:PORT")
    return Endpoint(parts.hostname, parts.port or 1883)


def _logins(settings: Settings, file: Path | None, api: str | None, names: list[str]) -> dict[str, str]:
    """Device path → secret, from the file, else of devices made through the API."""
    from sluice.provision import provision, read_credentials

    if file:
        return read_credentials(file)
    url = api or (private.read(settings.data / "run.json") or {}).get("http")
    if url is None:
        raise SimulateError(f"no stack runs in {settings.data}: name one with --data, --api or --credentials")
    return provision(url, settings.data / "credentials.json", settings.data / "simulator.json", names)


def _one(logins: dict[str, str], name: str) -> tuple[str, str]:
    for path, secret in logins.items():
        if name in (path, path.rpartition("/")[2]):
            return path, secret
    raise SimulateError(f"no credentials for device {name!r}")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63] or "replay"
