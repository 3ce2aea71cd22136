"""Simulated devices made through the API, as anyone would make them.

Secrets are told once, so they are kept in a file (0600): `{"org", "devices": {name: secret}}`.
"""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sluice import private
from sluice.errors import SluiceError

_ANSWER_S = 10.0
_CONFLICT = 409


class ProvisionError(SluiceError):
    """The message says which call was refused, and how."""


def provision(url: str, owner: Path, kept: Path, names: Sequence[str]) -> dict[str, str]:
    """Device path → secret of all `names`, those made now whose secrets are not in `kept`.

    `owner`: the file with the first owner's login. Raises `ProvisionError`.
    """
    login = private.read(owner)
    if login is None:
        raise ProvisionError(f"{owner} is not there: log in and create devices by hand")
    fleet = private.read(kept) or {"org": login["org"], "devices": {}}
    if missing := [name for name in names if name not in fleet["devices"]]:
        credentials = {"email": login["email"], "password": login["password"]}
        token = _post(url, "/auth/login", credentials)["access_token"]
        for name in missing:
            fleet["devices"][name] = _create(url, name, token, kept)
            private.write(kept, fleet)
    return {f"{fleet['org']}/{name}": fleet["devices"][name] for name in names}


def read_credentials(file: Path) -> dict[str, str]:
    """Device path → secret, from `{"org/device": secret}` or the form in which secrets are kept here."""
    content = private.read(file)
    if not isinstance(content, dict):
        raise ProvisionError(f"{file} holds no credentials")
    if "devices" in content:
        content = {f"{content['org']}/{name}": secret for name, secret in content["devices"].items()}
    return {str(path): str(secret) for path, secret in content.items()}


def _create(url: str, name: str, token: str, kept: Path) -> str:
    created = _post(url, "/devices", {"device": name, "tags": ["simulated"]}, token)
    if "secret" not in created:
        raise ProvisionError(
            f"device {name} exists and its secret is not in {kept}: delete it, or name others"
        )
    return str(created["secret"])


def _post(url: str, path: str, body: Any, token: str | None = None) -> dict[str, Any]:
    """The answer's JSON; empty where what is to be made exists."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(  # noqa: S310 - the API's address, given by the user
        f"{url.rstrip('/')}/api/v1{path}", json.dumps(body).encode(), headers
    )
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:  # noqa: S310 - as above
            content: dict[str, Any] = json.load(answer)
            return content
    except urllib.error.HTTPError as error:
        with error:
            if error.code == _CONFLICT:
                return {}
            raise ProvisionError(f"POST {path} answered {error.code}: {error.read(500).decode()}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ProvisionError(f"POST {path}: {error}") from error
