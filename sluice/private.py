"""JSON files that only their owner may read, and that are whole or not there."""

import json
import os
from pathlib import Path
from typing import Any


def write(path: Path, content: Any) -> None:
    """Replaces `path` in one step, mode 0600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def read(path: Path) -> Any:
    """None where there is no such file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
