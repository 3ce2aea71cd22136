"""The command line. Each command imports what it runs, so that a process holds only what it needs."""
# ruff: noqa: PLC0415 - as said

from collections.abc import Callable, Coroutine
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from config.settings import Settings, load
from sluice import logs, printing, process
from sluice.errors import SluiceError
from sluice.simulate import simulate

app = typer.Typer(
    help="MQTT-first IoT ingestion that accounts for every message.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="The settings in force.", no_args_is_help=True)
app.add_typer(config_app, name="config")

Model = TypeVar("Model", bound=BaseModel)
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="SLUICE_CONFIG", exists=True, dir_okay=False, help="TOML file of settings."
    ),
]


def main() -> None:
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sluice {version('sluice')}")
        raise typer.Exit


@app.callback()
def _common(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def up(
    *,
    data: Annotated[Path | None, typer.Option(help="Directory of everything kept. Default .sluice.")] = None,
    http: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port of the API; 0 for any free one. Default 8000.")
    ] = None,
    mqtt: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port of the broker; 0 likewise. Default 1883.")
    ] = None,
    ws: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Its WebSocket port; 0 likewise. Default 8083.")
    ] = None,
    demo: Annotated[int, typer.Option(min=0, max=10_000, help="Simulated devices to run along.")] = 0,
    config: ConfigFile = None,
) -> None:
    """Run the whole stack on this machine until Ctrl-C."""
    from sluice.up import up as stack_up

    settings = _settings(config)
    settings = _replace(settings, data=data)
    settings = _replace(settings, http=_replace(settings.http, port=http))
    settings = _replace(settings, broker=_replace(settings.broker, port=mqtt, ws_port=ws))
    logs.set_up(settings.log.level, "console")
    _run(stack_up(settings, demo, config), fast=False)


@app.command()
def ingest(config: ConfigFile = None) -> None:
    """Store what devices publish."""
    _process("ingest", config)


@app.command()
def api(config: ConfigFile = None) -> None:
    """Serve HTTP."""
    _process("api", config)


@app.command()
def jobs(config: ConfigFile = None) -> None:
    """Run the scheduled jobs."""
    _process("jobs", config)


@app.command()
def broker(config: ConfigFile = None) -> None:
    """Run the MQTT broker with every device's login."""
    _process("broker", config)


@app.command()
def init(
    replica_member: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of a mongod started with --replSet sluice: makes it a set of one."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Prepare the database and make the first owner; safe to repeat."""
    from sluice.bootstrap import init as prepare

    settings = _configured(config)
    _run(prepare(settings, replica_member))


app.command()(simulate)


@app.command()
def doctor(config: ConfigFile = None) -> None:
    """Say where each part comes from and what the broker promises."""
    import asyncio

    from sluice.doctor import examine, report

    parts = asyncio.run(examine(_settings(config)))
    typer.echo(report(parts))
    if any(part.problem for part in parts):
        raise typer.Exit(1)


@config_app.command("show")
def config_show(config: ConfigFile = None) -> None:
    """Print every setting as TOML, secrets hidden."""
    typer.echo("\n".join(printing.toml(_settings(config))))


def _process(name: str, config: Path | None) -> None:
    settings = _configured(config)
    run: Callable[[Settings], Coroutine[Any, Any, None]] = import_module(f"sluice.wiring.{name}").run
    _run(run(settings))


def _configured(config: Path | None) -> Settings:
    settings = _settings(config)
    logs.set_up(settings.log.level, settings.log.format)
    return settings


def _settings(config: Path | None) -> Settings:
    try:
        return load(config)
    except ValidationError as error:
        for line in printing.complaints(error):
            typer.echo(line, err=True)
        raise typer.Exit(2) from None
    except ValueError as error:  # not TOML
        typer.echo(f"{config}: {error}", err=True)
        raise typer.Exit(2) from None


def _run(main: Coroutine[Any, Any, None], fast: bool = True) -> None:
    """Errors that are meant for the person at the terminal become one line and exit status 1."""
    try:
        process.run(main, fast)
    except SluiceError as error:
        _fail(error)
    except BaseExceptionGroup as group:
        known = group.subgroup(SluiceError)
        if known is None:
            raise
        _fail(_first(known))


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(error: BaseException) -> NoReturn:
    typer.echo(f"sluice: {error}", err=True)
    raise typer.Exit(1)


def _replace(model: Model, **changes: Any) -> Model:
    """A copy in which what is not None has changed."""
    return model.model_copy(update={name: value for name, value in changes.items() if value is not None})
