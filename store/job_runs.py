"""One document for each tick of each job: who claimed it, how it went. Kept for 30 days (`store.schema`)."""

from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from store.mongo import Database, away_as_store_error


class JobRuns:
    """Every method raises `StoreAway` where MongoDB cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._runs = database["job_runs"]

    async def claim(self, job: str, slot: str, process: str, at: datetime) -> bool:
        """False where another process has it: the slot is the document's key, so only one insert succeeds."""
        document = {
            "_id": f"{job}:{slot}",
            "job": job,
            "slot": slot,
            "process": process,
            "at": at,
            "state": "running",
        }
        with away_as_store_error():
            try:
                await self._runs.insert_one(document)
            except DuplicateKeyError:
                return False
        return True

    async def succeeded(self, job: str, slot: str, duration_s: float, result: dict[str, Any]) -> None:
        await self._settle(job, slot, {"state": "succeeded", "duration_s": duration_s, "result": result})

    async def failed(self, job: str, slot: str, duration_s: float, error: str) -> None:
        await self._settle(job, slot, {"state": "failed", "duration_s": duration_s, "error": error})

    async def _settle(self, job: str, slot: str, outcome: dict[str, Any]) -> None:
        with away_as_store_error():
            await self._runs.update_one({"_id": f"{job}:{slot}"}, {"$set": outcome})
