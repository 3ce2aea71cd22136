"""Mosquitto's files as texts: one source of rules, nothing that the broker would pass over in silence."""

import json
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from broker import mosquitto
from broker.mosquitto import Installation, MosquittoError
from config.settings import Broker, Mqtt
from core.access import CONTROL, DEVICE_PUBLISHES, DEVICE_READS, SERVICE
from core.secrets import HashedSecret, hash_secret

SALT = bytes(range(12))
SECRET = hash_secret("secret", SALT)
INSTALLED = Installation(Path("/usr/sbin/mosquitto"), Path("/usr/lib/plugin.so"))
MQTT = Mqtt(password=SecretStr("service"), control_password=SecretStr("control"))


def settings_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_listeners_and_paths() -> None:
    broker = Broker(host="10.0.0.1", port=2883, ws_port=9083)
    lines = settings_of(mosquitto.configuration(broker, Path("/data dir"), INSTALLED.plugin))
    assert lines[-3:] == ["listener 2883 10.0.0.1", "listener 9083 10.0.0.1", "protocol websockets"]
    assert "plugin /usr/lib/plugin.so" in lines
    assert "plugin_opt_config_file /data dir/dynamic-security.json" in lines
    assert "persistence_location /data dir/" in lines
    assert "allow_anonymous false" in lines


@pytest.mark.parametrize("is_on", [True, False])
def test_autosave_on_changes_is_a_setting(is_on: bool) -> None:
    text = mosquitto.configuration(Broker(autosave_on_changes=is_on), Path("/d"), INSTALLED.plugin)
    assert f"autosave_on_changes {'true' if is_on else 'false'}" in settings_of(text)


def test_access_file_says_what_core_says() -> None:
    lines = mosquitto.access_file().splitlines()
    assert [f"pattern write v1/%u/{tail}" for tail in DEVICE_PUBLISHES] == [
        line for line in lines if line.startswith("pattern write")
    ]
    assert [f"pattern read v1/%u/{tail}" for tail in DEVICE_READS] == [
        line for line in lines if line.startswith("pattern read")
    ]


def test_everyone_has_one_of_three_roles() -> None:
    users = [(SERVICE, SECRET), ("a/one", SECRET), (CONTROL, SECRET), ("b/two", SECRET)]
    document = json.loads(mosquitto.dynamic_security(users))
    assert {user["username"]: user["roles"] for user in document["clients"]} == {
        SERVICE: [{"rolename": SERVICE}],
        CONTROL: [{"rolename": CONTROL}],
        "a/one": [{"rolename": "device"}],
        "b/two": [{"rolename": "device"}],
    }
    assert {role["rolename"] for role in document["roles"]} == {SERVICE, CONTROL, "device"}


def test_users_descend_because_the_plugin_loads_them_faster_so() -> None:
    document = json.loads(mosquitto.dynamic_security([(f"a/{name}", SECRET) for name in "bdac"]))
    assert [user["username"] for user in document["clients"]] == ["a/d", "a/c", "a/b", "a/a"]


def test_every_role_refuses_what_it_does_not_name() -> None:
    for role in json.loads(mosquitto.dynamic_security([]))["roles"]:
        last = min(role["acls"], key=lambda rule: rule["priority"])
        assert (last["acltype"], last["topic"], last["allow"]) == ("subscribePattern", "#", False)


@pytest.mark.parametrize(
    "username", ["+/+", "a/#", "a", "a/b/c", "a/", "/b", "", "%u/b", "_other/b", "A/b", "a/b\n", "_service/x"]
)
def test_a_user_name_that_would_reach_beyond_its_topics_is_refused(username: str) -> None:
    with pytest.raises(MosquittoError, match="is not org/device"):
        mosquitto.dynamic_security([(username, SECRET)])


@pytest.mark.parametrize("secret", [hash_secret("s", bytes(16)), HashedSecret(SALT, 101, bytes(32))])
def test_a_secret_that_mosquitto_would_pass_over_is_refused(secret: HashedSecret) -> None:
    with pytest.raises(MosquittoError, match="Mosquitto takes 12 and 64"):
        mosquitto.dynamic_security([("a/b", secret)])


def test_files_are_readable_by_us_alone(tmp_path: Path) -> None:
    directory = tmp_path / "broker"
    for _ in range(2):
        command = mosquitto.write(directory, INSTALLED, Broker(), MQTT, [("a/b", SECRET)])
    assert command == ["/usr/sbin/mosquitto", "-c", str(directory / "mosquitto.conf")]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {
        "mosquitto.conf": 0o600,
        "dynamic-security.json": 0o600,
        "access.acl": 0o600,
    }
    users = json.loads((directory / "dynamic-security.json").read_text())["clients"]
    assert {user["username"] for user in users} == {SERVICE, CONTROL, "a/b"}


def test_an_empty_service_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MosquittoError, match="password of '_control' is empty"):
        mosquitto.write(tmp_path, INSTALLED, Broker(), Mqtt(password=SecretStr("x")), [])


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mosquitto, "_PLUGIN_FOLDERS", (str(tmp_path),))
    with pytest.raises(MosquittoError, match=r"lacks mosquitto_dynamic_security\.so"):
        mosquitto.installation()
    monkeypatch.setattr(mosquitto, "_SBIN", (str(tmp_path),))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MosquittoError, match="mosquitto is not installed"):
        mosquitto.installation()
