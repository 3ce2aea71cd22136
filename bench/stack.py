"""The real stack for a benchmark, in a folder of its own, and what its processes spend."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

READY_S = 60.0


@dataclass(frozen=True)
class Stack:
    """`started_s`: from the start of `sluice up` to run.json."""

    data: Path
    run: Mapping[str, Any]
    secrets: Mapping[str, str]
    supervisor: int
    started_s: float

    @property
    def mqtt_port(self) -> int:
        port = urlsplit(self.run["mqtt"]).port
        assert port is not None
        return port

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU that each process has used so far."""
        pids = {**self.run["pids"], "supervisor": self.supervisor}
        times = {name: psutil.Process(pid).cpu_times() for name, pid in pids.items()}
        return {name: spent.user + spent.system for name, spent in times.items()}

    def resident(self) -> dict[str, float]:
        """MiB resident of each process."""
        pids = {**self.run["pids"], "supervisor": self.supervisor}
        return {name: psutil.Process(pid).memory_info().rss / 2**20 for name, pid in pids.items()}


@contextmanager
def running(*arguments: str) -> Iterator[Stack]:
    """`sluice up` on free ports with an empty folder; stopped and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        data = Path(folder)
        command = [sys.executable, "-P", "-m", "sluice", "up", "--data", folder,
                   "--http", "0", "--mqtt", "0", "--ws", "0", *arguments]  # fmt: skip
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            run = _wait(process, data / "run.json", began)
            secrets = json.loads((data / "secrets.json").read_text())
            yield Stack(data, run, secrets, process.pid, time.monotonic() - began)
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait(process: subprocess.Popen[bytes], file: Path, began: float) -> dict[str, Any]:
    while not file.exists():
        assert process.poll() is None, f"sluice up ended with {process.returncode}"
        assert time.monotonic() - began < READY_S, f"not ready after {READY_S} s"
        time.sleep(0.01)
    run: dict[str, Any] = json.loads(file.read_text())
    return run
