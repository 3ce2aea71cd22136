"""What happened once and must come out the same: every folder here is one message and what becomes of it.

`topic` and `payload` are what the broker brought, `expected.json` the address and the readings, the status,
or the refusal. A bug becomes a folder that is named by what happened.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingest.work import Message, Work, read

RECEIVED = 1_795_000_000_000  # 2026-11-18T11:06:40Z
CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/payload"))


def outcome(topic: str, payload: bytes) -> dict[str, Any]:
    """The address if the topic has one, then readings, a status or a refusal; None and false are left out."""
    work = Work(Message(topic, payload, RECEIVED, identity=1, since=0, retain=False))
    read(work)
    told: dict[str, Any] = {}
    if work.address:
        told["address"] = f"{work.address.path} {work.address.kind}"
        if work.address.reply:
            told["reply"] = work.address.reply
    if work.refusal:
        told["refusal"] = {"code": work.refusal.code, "detail": work.refusal.detail}
    elif work.status:
        told["status"] = msgspec.to_builtins(work.status)
    else:
        told["readings"] = [_told(msgspec.to_builtins(reading)) for reading in work.readings]
    return told


def _told(reading: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reading.items() if value is not None and value is not False}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_happened(case: Path) -> None:
    topic = (case / "topic").read_text().removesuffix("\n")
    expected = json.loads((case / "expected.json").read_text())
    assert outcome(topic, (case / "payload").read_bytes()) == expected


def test_every_folder_is_a_case() -> None:
    folders = {path for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name[0] not in "_."}
    assert folders == set(CASES)
    assert len(CASES) >= 20
