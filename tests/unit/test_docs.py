"""What the documents name is there: commands, options, topics, calls, settings, files, links."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from typer.main import get_command

from api import app as api_app
from api import openapi
from api.access import TABLE
from api.metrics import Metrics
from config.settings import Settings
from core import topics
from core.access import DEVICE_PUBLISHES, DEVICE_READS
from core.events import EventKind
from core.topics import Uplink
from sluice.cli import app as cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TOPICS = (ROOT / "docs/topics.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def code(text: str) -> list[str]:
    """Indented lines and code spans."""
    blocks = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return [*blocks, *re.findall(r"`([^`\n]+)`", text)]


def rows(text: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without its head."""
    table = re.search(rf"^## {heading}\n.*?((?:^\|[^\n]*\n)+)", text, re.M | re.S)
    assert table, f"no table below {heading!r}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()[2:]]


def anchors(document: Path) -> set[str]:
    """As GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@every_document
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {name for line in code(document.read_text()) for name in re.findall(r"^make ([a-z-]+)", line)}
    assert named <= targets


def test_the_two_commands_are_named() -> None:
    assert {"run", "test"} <= {name for line in code(README) for name in re.findall(r"^make (\w+)", line)}


@every_document
def test_sluice_commands_and_their_options_exist(document: Path) -> None:
    group: Any = get_command(cli)
    for line in code(document.read_text()):
        words = line.partition("#")[0].removeprefix("$ ").split()
        if len(words) < 2 or words[0] != "sluice" or not words[1].isalpha():
            continue
        command = group.commands.get(words[1])
        assert command, f"{line!r}: no command {words[1]!r}"
        if "commands" in vars(command) and len(words) > 2:
            command = command.commands[words[2]]
        options = {name for parameter in command.params for name in parameter.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, line


def test_every_command_is_in_the_documents() -> None:
    group: Any = get_command(cli)
    everything = "\n".join(line for path in DOCUMENTS for line in code(path.read_text()))
    assert {name for name in group.commands if f"sluice {name}" not in everything} == set()


def test_the_topic_table_holds_every_uplink_and_downlink() -> None:
    table = {cells[0].strip("`"): cells[1] for cells in rows(README, "Topics")}
    uplinks = {topic for topic, direction in table.items() if direction.startswith("from the device")}
    downlinks = {topic for topic, direction in table.items() if direction == "to the device"}
    ours = {topics.receipt("{path}"), topics.error("{path}")}
    assert uplinks == {f"…/{kind}".replace("+", "{id}") for kind in Uplink}
    assert downlinks == {topic.replace("v1/{path}", "…") for topic in ours}
    assert topics.event("{org}", "{kind}") in table


def test_every_topic_that_a_device_may_use_is_named() -> None:
    named = set(re.findall(r"`…/([^`]+)`", README))
    assert {tail.replace("+", "{id}") for tail in (*DEVICE_PUBLISHES, *DEVICE_READS)} == named


def test_every_refusal_and_every_domain_event_is_described() -> None:
    sources = [path for folder in ("core", "ingest", "store") for path in (ROOT / folder).glob("*.py")]
    codes = {name for path in sources for name in re.findall(r'Refusal\(\s*"(\w+)"', path.read_text())}
    assert set(re.findall(r"`(\w+)`", TOPICS.partition("is for programs:")[2].partition(". ")[0])) == codes
    kinds = {kind for cells in rows(TOPICS, "Domain events") for kind in re.findall(r"`(.+?)`", cells[0])}
    assert kinds == set(EventKind)


def test_the_api_table_is_that_of_the_openapi_document() -> None:
    built = api_app.build(cast("Any", SimpleNamespace(metrics=Metrics(CollectorRegistry()))), "0")
    paths = openapi.document(built, api_app.PREFIX)["paths"]
    calls = {
        f"{method.upper()} {path.removeprefix(api_app.PREFIX)}" for path in paths for method in paths[path]
    }
    table = {cells[0].strip("`"): cells[1] for cells in rows(README, "HTTP API")}
    assert set(table) == calls
    for call, told in table.items():
        assert told == (TABLE[call].role or "anyone") + (", the device" if TABLE[call].device else ""), call


@every_document
def test_variables_are_settings(document: Path) -> None:
    known = {"SLUICE_CONFIG", *re.findall(r"SLUICE_\w+", (ROOT / "docker-compose.yml").read_text())}
    for name, field in Settings.model_fields.items():
        section = field.annotation
        inner = section.model_fields if isinstance(section, type) and issubclass(section, BaseModel) else {}
        known |= {f"SLUICE_{name}_{key}".upper() for key in inner} or {f"SLUICE_{name}".upper()}
    assert set(re.findall(r"\bSLUICE_[A-Z][A-Z0-9_]*[A-Z0-9]", document.read_text())) <= known


@every_document
def test_files_that_are_named_exist(document: Path) -> None:
    named = set(re.findall(r"`((?:[\w-]+/)+[\w.-]+\.\w+)`", document.read_text()))
    assert {name for name in named if not (ROOT / name).exists()} == set()


@every_document
def test_relative_links_resolve(document: Path) -> None:
    for target, anchor in _links(document):
        file = (document.parent / target).resolve() if target else document
        assert file.exists(), f"{document.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{document.name}: {target}#{anchor}"


def _links(document: Path) -> Iterator[tuple[str, str]]:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" not in link:
            target, _, anchor = link.partition("#")
            yield target, anchor


@every_document
def test_no_machine_is_named(document: Path) -> None:
    """Paths of somebody's disk, and hosts of package registries."""
    text = document.read_text()
    assert re.findall(r"(?<![\w.])/(?:home|root|tmp|work|Users|opt)/\S+", text) == []
    assert re.findall(r"\S*(?:pypi|registry|artifactory|nexus)\.\S+", text) == []


def test_decisions_are_numbered_and_built_alike() -> None:
    assert [path.name[:4] for path in DECISIONS] == [f"{n:04d}" for n in range(1, len(DECISIONS) + 1)]
    for path in DECISIONS:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]} "), path.name
        headings = re.findall(r"^## (Context|Decision|Consequences)$", text, re.M)
        assert headings == ["Context", "Decision", "Consequences"], path.name
