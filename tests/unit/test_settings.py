"""Settings are read from where they should be, kept within bounds, and every one of them is documented."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from config.settings import Settings, load
from sluice.printing import toml

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
ROW = re.compile(r"^\| `(SLUICE_\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def fields() -> Iterator[tuple[str, tuple[str, ...], FieldInfo]]:
    """Variable, path in the settings, and the field of each."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            for inner, inner_field in section.model_fields.items():
                yield f"SLUICE_{name}_{inner}".upper(), (name, inner), inner_field
        else:
            yield f"SLUICE_{name}".upper(), (name,), field


FIELDS = list(fields())
ROWS = {name: (default, unit, meaning) for name, default, unit, meaning in ROW.findall(PAGE.read_text())}
every_field = pytest.mark.parametrize(
    ("variable", "path", "field"), FIELDS, ids=[variable for variable, _, _ in FIELDS]
)


@pytest.fixture(autouse=True)
def _only_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, _, _ in FIELDS:
        monkeypatch.delenv(variable, raising=False)


def value_of(settings: Settings, path: tuple[str, ...]) -> Any:
    value: Any = settings
    for name in path:
        value = getattr(value, name)
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def shown(value: object) -> str:
    """A default as the page writes it."""
    if value is None or value == "":
        return "*unset*" if value is None else "*empty*"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def test_the_page_lists_every_setting_and_no_other() -> None:
    assert list(ROWS) == [variable for variable, _, _ in FIELDS]


@every_field
def test_the_page_is_right(variable: str, path: tuple[str, ...], field: FieldInfo) -> None:
    default, unit, meaning = ROWS[variable]
    assert default == shown(value_of(load(), path))
    assert meaning.strip()
    choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    assert all(f"`{choice}`" in unit for choice in choices)
    suffixes = {"_s": "seconds", "_bytes": "bytes", "port": "port"}
    assert all(unit.startswith(told) for end, told in suffixes.items() if path[-1].endswith(end))
    assert ("SecretStr" in str(field.annotation)) == (unit == "secret")


@every_field
def test_its_variable_sets_it(
    variable: str, path: tuple[str, ...], field: FieldInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = value_of(load(), path)
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    others = [choice for choice in choices if choice != before] or ["42", "true"]
    monkeypatch.setenv(variable, "true" if before is False else others[0])
    after = value_of(load(), path)
    assert after != before
    assert str(after).lower().removesuffix(".0") == ("true" if before is False else others[0])


def test_the_environment_is_stronger_than_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sluice.toml"
    file.write_text('org = "filed"\n[ingest]\nbatch_size = 7\nwindow = 8\n')
    monkeypatch.setenv("SLUICE_INGEST_WINDOW", "9")
    settings = load(file)
    assert (settings.org, settings.ingest.batch_size, settings.ingest.window) == ("filed", 7, 9)
    assert load(file, org="given").org == "given"


@pytest.mark.parametrize(
    ("variable", "wrong"),
    [
        ("SLUICE_INGEST_BATCH_SIZE", "0"),
        ("SLUICE_INGEST_BATCH_SIZE", "many"),
        ("SLUICE_INGEST_WINDOW", "65536"),
        ("SLUICE_INGEST_BATCH_AGE_S", "0"),
        ("SLUICE_JOBS_SILENT_AFTER_S", "-1"),
        ("SLUICE_MQTT_VERSION", "3.1"),
        ("SLUICE_BROKER_KIND", "emqx"),
        ("SLUICE_LOG_LEVEL", "INFO"),
        ("SLUICE_INGEST_BATCHSIZE", "7"),
    ],
)
def test_what_is_out_of_bounds_or_unknown_is_refused(
    variable: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, wrong)
    with pytest.raises(ValidationError):
        load()


@pytest.mark.parametrize("text", ["[ingest]\nbatchsize = 7\n", "[ingset]\nbatch_size = 7\n", "ogr = 'x'\n"])
def test_a_slip_in_the_file_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "sluice.toml"
    file.write_text(text)
    with pytest.raises(ValidationError):
        load(file)


def test_settings_do_not_change() -> None:
    settings = load()
    with pytest.raises(ValidationError):
        settings.org = "other"
    with pytest.raises(ValidationError):
        settings.ingest.window = 1


def test_what_is_printed_is_read_back_and_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as secrets:
        for variable, _, field in FIELDS:
            if "SecretStr" in str(field.annotation):
                secrets.setenv(variable, "hunter2")
        text = "\n".join(toml(load()))
    assert "hunter2" not in text
    printed = tomllib.loads(text)
    assert printed["ingest"]["batch_size"] == 4000
    assert printed["auth"]["key"] == "…"
    file = tmp_path / "sluice.toml"
    file.write_text(text)
    assert load(file).ingest == load().ingest
