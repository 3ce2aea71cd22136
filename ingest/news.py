"""Edits and deletions of devices, heard over Redis: the directory forgets them at once."""

import asyncio

from ingest.directory import Directory
from store.errors import StoreAway
from store.live import Live

RETRY_S = 1.0


class News:
    def __init__(self, live: Live, directory: Directory) -> None:
        self._live = live
        self._directory = directory

    async def run(self) -> None:
        """Until cancelled. After each interruption the whole directory is read anew, as it is needed."""
        while True:
            try:
                async with self._live.changed_devices() as paths:
                    self._directory.forget_all()
                    self._directory.is_told = True
                    async for path in paths:
                        self._directory.forget(path.decode())
            except StoreAway:
                pass  # it is told again when Redis is back
            finally:
                self._directory.is_told = False
            await asyncio.sleep(RETRY_S)
