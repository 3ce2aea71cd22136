"""The dead-letter inbox: what could not be stored, its original bytes, and why."""

from collections.abc import Mapping, Sequence
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

    async def seen(self, since: Mapping[int, int]) -> set[int]:
        """Of the deliveries in `since` those that are in the inbox, from that time (ms) on."""
        if not since:
            return set()
        query = {"delivery": {"$in": list(since)}}
        with away_as_store_error():
            documents = await self._letters.find(query, {"delivery": 1, "at": 1}).to_list()
            found = [one for one in documents if one["at"] >= _time(since[one["delivery"]])]
            if found:  # a write after the read is on a majority only together with what was read
                same = {"delivery": found[0]["delivery"]}
                await self._letters.update_one({"_id": found[0]["_id"]}, {"$set": same})
        return {document["delivery"] for document in found}


def _document(letter: DeadLetter) -> Document:
    return {
        "at": _time(letter.at),
        "org": letter.org,
        "device": letter.device,
        "topic": letter.topic,
        "payload": Binary(letter.payload),
        "code": letter.refusal.code,
        "detail": letter.refusal.detail,
        "hint": letter.refusal.hint,
        "delivery": letter.delivery,
    }


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
