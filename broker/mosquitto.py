"""Mosquitto 2.0's own files, written before it starts: settings, who logs in, who reads and publishes what.

Mosquitto asks its dynamic-security plugin first and its `acl_file` where the plugin says nothing:

- `dynamic-security.json` holds every user and decides on SUBSCRIBE, which an `acl_file` always grants. It
  knows no `%u`, so all devices share one role: a device may ask for any device's downlinks, nothing else.
- `access.acl` decides on PUBLISH, wills and every delivery, by `%u`, the user name `org/device`. It is what
  keeps a device's messages from others, retained ones and wills included.
"""

import base64
import json
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.settings import Broker, Mqtt
from core.access import CONTROL, DEVICE_PUBLISHES, DEVICE_READS, SERVICE
from core.secrets import SALT_BYTES, HashedSecret, hash_secret
from core.topics import ROOT, is_slug

COMMANDS = "$CONTROL/dynamic-security/v1"
RESPONSES = f"{COMMANDS}/response"
DEVICE_ROLE = "device"

# Larger packets close their connection. The other limit, `message_size_limit`, tells an MQTT 3.1.1 client
# that its message arrived and drops it. Four times what a message may hold: ingest answers for the rest.
MAX_PACKET_BYTES = 2**20

# No bound in effect. 0 would say so, but 2.0.11 then closes the connection of whoever is refused a publish.
MAX_QUEUED = 1_000_000_000

# Above this Mosquitto counts no more and gives a packet id again while its first message is in flight.
MAX_IN_FLIGHT = 65_534

DIGEST_BYTES = 64  # likewise

_SBIN = ("/usr/local/sbin", "/usr/sbin", "/opt/homebrew/sbin")  # not on everyone's PATH
_PLUGIN = "mosquitto_dynamic_security.so"
_PLUGIN_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/arm-linux-gnueabihf",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/opt/homebrew/lib",
)


class MosquittoError(Exception):
    """Mosquitto is not installed, or cannot be configured with what it was given."""


@dataclass(frozen=True, slots=True)
class Installation:
    program: Path
    plugin: Path


def installation() -> Installation:
    """Where Mosquitto and its plugin are on this machine; raises `MosquittoError`."""
    program = shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), *_SBIN]))
    if program is None:
        raise MosquittoError("mosquitto is not installed: neither on PATH nor in " + ", ".join(_SBIN))
    for folder in _PLUGIN_FOLDERS:
        plugin = Path(folder, _PLUGIN)
        if plugin.exists():
            return Installation(Path(program), plugin)
    raise MosquittoError(f"{program} lacks {_PLUGIN}: not in " + ", ".join(_PLUGIN_FOLDERS))


def write(
    directory: Path,
    installed: Installation,
    broker: Broker,
    mqtt: Mqtt,
    devices: Iterable[tuple[str, HashedSecret]],
) -> list[str]:
    """Write all files into `directory`, readable by us alone, and return the command that starts Mosquitto.

    `devices`: user name (`org/device`) and secret of every device that may log in. Raises `MosquittoError`.
    """
    directory = directory.resolve()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    services = [
        (SERVICE, _hash_service(SERVICE, mqtt.password.get_secret_value())),
        (CONTROL, _hash_service(CONTROL, mqtt.control_password.get_secret_value())),
    ]
    _write_private(directory / "access.acl", access_file())
    _write_private(directory / "dynamic-security.json", dynamic_security([*services, *devices]))
    _write_private(directory / "mosquitto.conf", configuration(broker, directory, installed.plugin))
    return [str(installed.program), "-c", str(directory / "mosquitto.conf")]


def configuration(broker: Broker, directory: Path, plugin: Path) -> str:
    """`mosquitto.conf`: nothing that was accepted is dropped, as far as one process can promise that.

    With `autosave_on_changes` off a kill -9 takes at most the last second of what waits inside the broker.
    """
    return f"""\
per_listener_settings false
allow_anonymous false
plugin {plugin}
plugin_opt_config_file {directory}/dynamic-security.json
acl_file {directory}/access.acl

persistence true
persistence_location {directory}/
autosave_interval 1
autosave_on_changes {str(broker.autosave_on_changes).lower()}
persistent_client_expiration 30d

max_queued_messages {MAX_QUEUED}
max_queued_bytes 0
max_inflight_messages {MAX_IN_FLIGHT}
max_packet_size {MAX_PACKET_BYTES}
retain_available true
set_tcp_nodelay true

# Started by root it stays root: the user it would change to cannot write here. Without effect otherwise.
user root
sys_interval 0
log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages false

listener {broker.port} {broker.host}
listener {broker.ws_port} {broker.host}
protocol websockets
"""


def access_file() -> str:
    """The `acl_file`: what is published and delivered; nothing that is not named here."""
    rules = [
        f"user {SERVICE}",
        f"topic readwrite {ROOT}/#",
        f"user {CONTROL}",
        f"topic write {COMMANDS}",
        f"topic read {RESPONSES}",
        *(f"pattern write {ROOT}/%u/{tail}" for tail in DEVICE_PUBLISHES),
        *(f"pattern read {ROOT}/%u/{tail}" for tail in DEVICE_READS),
    ]
    return "\n".join(rules) + "\n"


def dynamic_security(users: Iterable[tuple[str, HashedSecret]]) -> str:
    """The plugin's file: every user with one of three roles; `MosquittoError` for a user it cannot hold.

    Sorted downwards: the plugin inserts into an ascending list from its head, so that 100,000 users load in
    two seconds this way round and in minutes the other.
    """
    document = {
        "defaultACLAccess": {
            "publishClientSend": False,
            "publishClientReceive": False,
            "subscribe": False,
            "unsubscribe": True,
        },
        "clients": [_client(*user) for user in sorted(users, key=lambda user: user[0], reverse=True)],
        "roles": [
            _role(SERVICE, f"{ROOT}/#", f"$share/+/{ROOT}/#"),
            _role(CONTROL, RESPONSES),
            _role(DEVICE_ROLE, *(f"{ROOT}/+/+/{tail}" for tail in DEVICE_READS)),
        ],
    }
    return json.dumps(document)


def is_device(username: str) -> bool:
    """True for `slug/slug`, the one form in which `%u` stands for itself in a topic."""
    levels = username.split("/")
    return len(levels) == 2 and all(map(is_slug, levels))


def _role(name: str, *filters: str) -> dict[str, Any]:
    """Grants SUBSCRIBE to what lies within `filters` and refuses all else, `$SYS` and `$share` included."""
    allowed = [{"acltype": "subscribePattern", "topic": f, "allow": True, "priority": 1} for f in filters]
    refused = {"acltype": "subscribePattern", "topic": "#", "allow": False, "priority": 0}
    return {"rolename": name, "acls": [*allowed, refused]}


def _client(username: str, secret: HashedSecret) -> dict[str, Any]:
    if username not in (SERVICE, CONTROL) and not is_device(username):
        raise MosquittoError(f"user name {username!r} is not org/device")
    if (len(secret.salt), len(secret.digest)) != (SALT_BYTES, DIGEST_BYTES):
        raise MosquittoError(
            f"secret of {username!r}: salt of {len(secret.salt)} and digest of {len(secret.digest)} bytes; "
            f"Mosquitto takes {SALT_BYTES} and {DIGEST_BYTES}"
        )
    return {
        "username": username,
        "roles": [{"rolename": username if username in (SERVICE, CONTROL) else DEVICE_ROLE}],
        "password": base64.b64encode(secret.digest).decode(),
        "salt": base64.b64encode(secret.salt).decode(),
        "iterations": secret.iterations,
    }


def _hash_service(username: str, password: str) -> HashedSecret:
    if not password:
        raise MosquittoError(f"the password of {username!r} is empty (mqtt.password, mqtt.control_password)")
    return hash_secret(password, secrets.token_bytes(SALT_BYTES))


def _write_private(path: Path, text: str) -> None:
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
