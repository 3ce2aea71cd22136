"""A child's output on disk, bounded: at most two files of `LIMIT` bytes a child, older lines go."""

import os
import shutil
from pathlib import Path

LIMIT = 8 * 2**20
_TAIL = 4096


def open_for_append(path: Path) -> int:
    """A descriptor to hand to a child; O_APPEND, so that writing goes on rightly after `bound` truncates."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bound(path)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def bound(path: Path, limit: int = LIMIT) -> None:
    """Past `limit` bytes the file becomes `path.1` and starts anew; lines of that very moment may be lost."""
    if path.exists() and path.stat().st_size > limit:
        shutil.copyfile(path, path.with_name(path.name + ".1"))
        os.truncate(path, 0)


def last_line(path: Path) -> str:
    """The last line with anything in it; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
