"""Who changed what, and when: append-only, never edited."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bson import ObjectId

from store.mongo import Database, Document, away_as_store_error


class Audit:
    """Every method raises `StoreAway` where MongoDB cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._audit = database["audit"]

    async def record(
        self,
        org: str,
        actor: str,
        action: str,
        object: str,
        at: datetime,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """`actor`: a user's id, or `jobs`; `action`: `noun.verb`; `object`: such as `device/boiler-1`.

        `before` and `after` hold the changed fields only, never secrets.
        """
        document = entry(org, actor, action, object, at, before=before, after=after)
        with away_as_store_error():
            await self._audit.insert_one(document)


def entry(
    org: str,
    actor: str,
    action: str,
    object: str,
    at: datetime,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> Document:
    """For those who write it in one transaction with what it tells of."""
    return {
        "_id": ObjectId(),
        "org": org,
        "actor": actor,
        "action": action,
        "object": object,
        "at": at,
        "before": before,
        "after": after,
    }
