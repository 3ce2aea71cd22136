"""The dead-letter inbox: what could not be stored, its original bytes, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bson.binary import Binary

from core.refusal import Refusal
from store.mongo import Database, Document, away_as_store_error


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`at` in ms; `org` and `device` where the topic names them; `delivery` as in `store.writes`."""

    at: int
    topic: str
    payload: bytes
    refusal: Refusal
    delivery: int
    org: str | None = None
    device: str | None = None


class DeadLetters:
    """Every method raises `StoreAway` where MongoDB cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._letters = database["dead_letters"]

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        if letters:
            with away_as_store_error():
                await self._letters.insert_many([_document(letter) for letter in letters], ordered=False)

    async def seen(self, deliveries: Sequence[int]) -> set[int]:
        """Which of these deliveries are in the inbox already."""
        if not deliveries:
            return set()
        query = {"delivery": {"$in": list(deliveries)}}
        with away_as_store_error():
            documents = await self._letters.find(query, {"delivery": 1}).to_list()
        return {document["delivery"] for document in documents}


def _document(letter: DeadLetter) -> Document:
    return {
        "at": datetime.fromtimestamp(letter.at / 1000, UTC),
        "org": letter.org,
        "device": letter.device,
        "topic": letter.topic,
        "payload": Binary(letter.payload),
        "code": letter.refusal.code,
        "detail": letter.refusal.detail,
        "hint": letter.refusal.hint,
        "delivery": letter.delivery,
    }
