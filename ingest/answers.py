"""What is told after the commit: receipts and errors to devices, outcomes to whoever sent for a device."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from core import topics
from core.sequences import Window
from ingest.pipeline import Windows
from ingest.work import Work

Answer = tuple[str, bytes]

_encode = msgspec.json.encode


def answers(works: Sequence[Work], windows: Windows) -> Iterator[Answer]:
    """Topic and payload of each answer, in the order of the messages."""
    for work in works:
        address = work.address
        if address is None:
            continue
        if windows and work.device and work.device.key in windows and (seqs := work.seqs):
            window = windows[work.device.key]
            yield topics.receipt(address.path), _encode(receipt(work.fate, max(seqs)[0], window))
        if work.refusal is not None:
            yield topics.error(address.path), _encode({**problem(work), "topic": work.message.topic})
        if address.reply is not None:
            yield topics.reply(address.reply), _encode({"status": work.fate, **problem(work)})


def receipt(status: str, seq: int, window: Window) -> dict[str, Any]:
    """All that the device numbered `from`..`stored_to` is settled; `seq` is the message's own highest."""
    return {"status": status, "seq": seq, "stored_to": window.to, "from": window.start}


def problem(work: Work) -> dict[str, str]:
    """Why it is dead; empty where it is not."""
    if work.refusal is None:
        return {}
    return {"code": work.refusal.code, "detail": work.refusal.detail, "hint": work.refusal.hint}
