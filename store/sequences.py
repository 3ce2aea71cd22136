"""The receipt windows of devices that count their messages, kept beside the readings they speak of.

The window is committed before the ack, so a receipt never claims more than is stored; several ingests may
move one device's window, so each update names the version that it started from.
"""

from collections.abc import Mapping, Sequence

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from core.sequences import Window, settle
from store.mongo import Database, Document, away_as_store_error
from store.parallel import each


class Sequences:
    """Raises `StoreAway` where MongoDB cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._windows = database["sequences"]

    async def settle(self, settled: Mapping[bytes, Sequence[tuple[int, bool]]]) -> dict[bytes, Window]:
        """Device's key → its settled (seq, whether it was new), in order; gives the windows after them."""
        if not settled:
            return {}
        with away_as_store_error():
            found = await self._windows.find({"_id": {"$in": [ObjectId(key) for key in settled]}}).to_list()
            documents = {document["_id"].binary: document for document in found}
            windows = await each(
                self._move(ObjectId(key), documents.get(key), seqs) for key, seqs in settled.items()
            )
        return dict(zip(settled, windows, strict=True))

    async def _move(
        self, device: ObjectId, document: Document | None, seqs: Sequence[tuple[int, bool]]
    ) -> Window:
        while True:
            window = _window(document)
            for seq, is_new in seqs:
                window = settle(window, seq, is_new)
            assert window is not None  # noqa: S101 (a device is here because it has at least one seq)
            if await self._replace(device, document, window):
                return window
            document = await self._windows.find_one({"_id": device})

    async def _replace(self, device: ObjectId, before: Document | None, after: Window) -> bool:
        version = before["version"] if before else 0
        body = {"start": after.start, "to": after.to, "islands": list(after.islands), "version": version + 1}
        if before is None:
            try:
                await self._windows.insert_one({"_id": device, **body})
            except DuplicateKeyError:
                return False
            return True
        result = await self._windows.replace_one({"_id": device, "version": version}, body)
        return result.matched_count == 1


def _window(document: Document | None) -> Window | None:
    if document is None:
        return None
    islands = tuple((low, high) for low, high in document["islands"])
    return Window(document["start"], document["to"], islands)
