"""Organisations and the people in them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from store.errors import Conflict
from store.mongo import Database, Document, away_as_store_error

Role = Literal["owner", "admin", "operator", "viewer"]


@dataclass(frozen=True, slots=True)
class User:
    id: str
    org: str
    email: str
    role: Role
    password_hash: str


class Users:
    """Every method raises `StoreAway` where MongoDB cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._users = database["users"]
        self._organizations = database["organizations"]

    async def any_exists(self) -> bool:
        with away_as_store_error():
            return await self._users.find_one({}, {"_id": 1}) is not None

    async def create(self, org: str, email: str, password_hash: str, role: Role, at: datetime) -> User:
        """Makes the organisation too where it is new; raises `Conflict` where the email is taken."""
        document: Document = {
            "_id": ObjectId(),
            "org": org,
            "email": email.lower(),
            "role": role,
            "password_hash": password_hash,
            "created": at,
        }
        with away_as_store_error():
            await self._organizations.update_one({"_id": org}, {"$setOnInsert": {"created": at}}, upsert=True)
            try:
                await self._users.insert_one(document)
            except DuplicateKeyError as error:
                raise Conflict(email) from error
        return _user(document)

    async def by_email(self, email: str) -> User | None:
        with away_as_store_error():
            document = await self._users.find_one({"email": email.lower()})
        return _user(document) if document else None

    async def by_id(self, user_id: str) -> User | None:
        with away_as_store_error():
            document = await self._users.find_one({"_id": ObjectId(user_id)})
        return _user(document) if document else None


def _user(document: Document) -> User:
    return User(
        id=str(document["_id"]),
        org=document["org"],
        email=document["email"],
        role=document["role"],
        password_hash=document["password_hash"],
    )
