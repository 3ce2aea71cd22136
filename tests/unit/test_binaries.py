import os
from pathlib import Path

import pytest

from sluice import binaries
from sluice.binaries import Binary
from sluice.errors import BinaryError


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `parts` with a program in it that lost its x bit; importing it would fail."""
    package = tmp_path / "site" / "parts"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    program = package / "bin" / "part"
    script(program, 'echo "part version 1.2"')
    program.chmod(0o644)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(binaries, "_WHEELS", {"part": [("absent_package", "x"), ("parts", "bin/part")]})
    return program


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_path_comes_before_the_wheel(wheel: Path, tmp_path: Path) -> None:
    on_path = script(tmp_path / "part", "true")
    assert binaries.find("part", str(tmp_path)) == Binary("part", on_path, "PATH")


def test_the_wheel_is_found_without_import_and_made_executable(wheel: Path, tmp_path: Path) -> None:
    found = binaries.find("part", str(tmp_path / "nowhere"))
    assert found == Binary("part", wheel, "wheel")
    assert os.access(wheel, os.X_OK)
    assert binaries.version(found) == "part version 1.2"


def test_what_is_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert binaries.find("no-such-part") is None
    with pytest.raises(BinaryError, match="no-such-part is neither on PATH nor in a wheel"):
        binaries.require("no-such-part")


def test_a_program_that_cannot_start_is_quoted(tmp_path: Path) -> None:
    broken = script(tmp_path / "part", "echo 'libcurl.so.4: cannot open shared object file' >&2; exit 127")
    with pytest.raises(BinaryError, match=r"part \(PATH\) does not run: libcurl.so.4: cannot open"):
        binaries.version(Binary("part", broken, "PATH"))


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "part").chmod(0o755)
    with pytest.raises(BinaryError, match="does not run"):
        binaries.version(Binary("part", tmp_path / "part", "PATH"))


@pytest.mark.parametrize("name", ["mongod", "redis-server"])
def test_the_parts_of_the_embedded_stack_are_here(name: str) -> None:
    found = binaries.find(name)
    assert found is not None
    assert "v" in binaries.version(found)
