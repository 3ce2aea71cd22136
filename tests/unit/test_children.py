import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice import logfile
from sluice.children import Backoff, Child, Program, describe


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(first=1, longest=5, steady=60)
    assert [backoff.after(0.1) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_a_steady_run_starts_the_pauses_anew() -> None:
    backoff = Backoff(first=1, longest=30, steady=60)
    assert [backoff.after(run) for run in (0, 0, 0, 60, 0, 59.9)] == [1, 2, 4, 1, 2, 4]


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "exit status 0"), (3, "exit status 3"), (-9, "signal SIGKILL"), (-250, "signal 250")],
)
def test_a_status_is_described(status: int, text: str) -> None:
    assert describe(status) == text


def test_the_last_line_is_the_last_with_anything_in_it(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    assert logfile.last_line(file) == ""
    file.write_bytes(b"first\n" + b"x" * 10_000 + b"\nlast \xff words\n\n  \n")
    assert logfile.last_line(file) == "last \ufffd words"


def test_a_log_past_its_limit_starts_anew_and_open_writers_go_on(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "a.log"
    descriptor = logfile.open_for_append(file)
    try:
        os.write(descriptor, b"0123456789")
        logfile.bound(file, limit=10)
        assert file.read_bytes() == b"0123456789"
        os.write(descriptor, b"a")
        logfile.bound(file, limit=10)
        os.write(descriptor, b"b")
    finally:
        os.close(descriptor)
    assert file.read_bytes() == b"b"
    assert (tmp_path / "logs" / "a.log.1").read_bytes() == b"0123456789a"


def program(code: str) -> Program:
    return Program("child", (sys.executable, "-c", code), dict(os.environ))


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def until_said(child: Child, word: str) -> None:
    await until(lambda: child.pid is not None and child.last_words == word)


async def test_a_killed_child_comes_back_with_another_pid(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    pids: list[int | None] = []
    child = Child(
        program("import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"),
        log,
        started=lambda: pids.append(child.pid),
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(child.keep())
        try:
            await until(lambda: child.last_words.startswith("pid"))
            first = child.pid
            assert first is not None
            assert child.last_words == f"pid {first}"  # the launcher became the program
            os.kill(first, signal.SIGKILL)
            await until(lambda: child.pid not in (None, first))
            assert child.deaths == 1
            assert pids == [first, child.pid]
        finally:
            await child.stop(5)
    assert not is_running(pids[1] or 0)


async def test_a_child_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    child = Child(program(deaf), log)
    async with asyncio.TaskGroup() as group:
        group.create_task(child.keep())
        try:
            await until_said(child, "deaf")
        finally:
            await child.stop(0.2)
    assert child.pid is not None
    assert not is_running(child.pid)
    assert child.deaths == 0


async def test_a_stop_ends_the_pause_before_a_restart(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    child = Child(program("raise SystemExit('no licence')"), log)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(child.keep())
        await until(lambda: child.deaths == 2)
        assert child.last_words == "no licence"
        await child.stop(5)


async def test_a_child_dies_with_its_supervisor(tmp_path: Path) -> None:
    """The kernel tells it, so that even a kill -9 leaves nothing behind."""
    code = f"""
import asyncio, os, sys
from pathlib import Path
from sluice.children import Child, Program
argv = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)")
child = Child(Program("child", argv, os.environ), Path({str(tmp_path / "child.log")!r}))
async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(child.keep())
        while child.pid is None or child.last_words != "up":
            await asyncio.sleep(0.01)
        print(child.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    async with asyncio.timeout(20):
        pid = int(await supervisor.stdout.readline())
        supervisor.kill()
        await supervisor.wait()
        await until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    """False for a zombie too: where nothing reaps orphans, one stays."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
