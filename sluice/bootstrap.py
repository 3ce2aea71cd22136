"""`sluice init`: the schema and the first owner. Safe to run at every start and by several at once."""

import asyncio
import secrets
from datetime import UTC, datetime

import structlog

from api.passwords import hasher
from config.settings import Settings
from core.topics import is_slug
from sluice import private, replica
from sluice.errors import InitError
from store import mongo, schema
from store.errors import Conflict, StoreAway
from store.mongo import Database
from store.users import Users

log = structlog.get_logger()

_RETRY_S = 0.1


async def init(settings: Settings, member: str | None = None, wait_s: float = 60.0) -> None:
    """`member`: `host:port` of a mongod whose one-member replica set is ours to make. Raises `InitError`."""
    url = settings.mongo.url.get_secret_value()
    async with mongo.connect(url, settings.mongo.database, settings.mongo.timeout_s) as database:
        await _primary(database, member, wait_s)
        await schema.migrate(database)
        await _first_owner(database, settings)


async def _primary(database: Database, member: str | None, wait_s: float) -> None:
    """Waits until MongoDB takes writes."""
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        try:
            if member:
                await replica.settle(database, member)
            await mongo.ping(database)
            return
        except StoreAway as error:
            if asyncio.get_running_loop().time() > deadline:
                raise InitError(f"MongoDB takes no writes after {wait_s:.0f} s: {error}") from error
            log.debug("mongo_away", error=str(error))
        await asyncio.sleep(_RETRY_S)


async def _first_owner(database: Database, settings: Settings) -> None:
    """Where there is no user yet. The credentials are on disk before the user is: nobody is locked out."""
    users = Users(database)
    if await users.any_exists():
        return
    if not is_slug(settings.org):
        raise InitError(f"org {settings.org!r} is not a slug ([a-z0-9][a-z0-9-]{{0,62}})")
    given = settings.owner.password
    password = given.get_secret_value() if given else secrets.token_urlsafe(15)
    email = settings.owner.email.lower()
    file = settings.data / "credentials.json"
    private.write(file, {"org": settings.org, "email": email, "password": password})
    try:
        await users.create(settings.org, email, hasher().hash(password), "owner", datetime.now(UTC))
    except Conflict:  # another init was faster
        return
    log.info("owner_created", org=settings.org, email=email, credentials=str(file))
