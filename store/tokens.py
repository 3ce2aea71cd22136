"""Refresh tokens in Redis: opaque, kept only as hashes, good for one use.

A log-in starts a family. Each refresh replaces the family's token; whoever presents one that was replaced
has a copy of it, or is the victim of one, so the whole family ends (RFC 9700, 4.14.2). A token is the
family's name and 256 random bits, `{family}.{secret}`.
"""

import hashlib
import secrets
from dataclasses import dataclass

from redis.asyncio import Redis

from store.redis import away_as_store_error

# KEYS[1] family; ARGV: hash presented, hash of the successor, ttl in s. One script, so parallel
# refreshes have one winner.
_ROTATE = """
local current = redis.call('HGET', KEYS[1], 'hash')
if not current then return {'unknown'} end
if current ~= ARGV[1] then
    redis.call('DEL', KEYS[1])
    return {'reused'}
end
redis.call('HSET', KEYS[1], 'hash', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {'rotated', redis.call('HGET', KEYS[1], 'user')}
"""

# Only who holds the current or a replaced token knows the family's name, 128 random bits.
_KEY = "refresh:{}"


@dataclass(frozen=True, slots=True)
class Rotated:
    user_id: str
    token: str


class TokenReused(Exception):
    """The token had been replaced before: its family is revoked."""


class RefreshTokens:
    """Every method raises `StoreAway` where Redis cannot be reached; `ttl_s` counts from the last use."""

    def __init__(self, redis: Redis, ttl_s: int) -> None:
        self._redis = redis
        self._rotate = redis.register_script(_ROTATE)
        self._ttl_s = ttl_s

    async def start(self, user_id: str) -> str:
        """The first token of a new family."""
        family = secrets.token_urlsafe(16)
        token = _token(family)
        key = _KEY.format(family)
        with away_as_store_error():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping={"user": user_id, "hash": _hash(token)})
                pipe.expire(key, self._ttl_s)
                await pipe.execute()
        return token

    async def owner(self, token: str) -> str | None:
        """Whose family the token names, be the token itself good or not: look the user up before rotating,
        since a rotation whose answer is lost costs the user the session."""
        with away_as_store_error():
            user_id = await self._redis.hget(_KEY.format(_family(token)), "user")
        return user_id.decode() if isinstance(user_id, bytes) else None

    async def rotate(self, token: str) -> Rotated | None:
        """The user and the successor, or None for a token unknown or expired; raises `TokenReused`."""
        family = _family(token)
        successor = _token(family)
        with away_as_store_error():
            answer = await self._rotate(
                keys=[_KEY.format(family)], args=[_hash(token), _hash(successor), self._ttl_s]
            )
        match [part.decode() for part in answer]:
            case ["rotated", user_id]:
                return Rotated(user_id, successor)
            case ["reused"]:
                raise TokenReused
        return None

    async def revoke(self, token: str) -> None:
        """Ends the token's family, if it is still there."""
        with away_as_store_error():
            await self._redis.delete(_KEY.format(_family(token)))


def _token(family: str) -> str:
    return f"{family}.{secrets.token_urlsafe(32)}"


def _family(token: str) -> str:
    return token.partition(".")[0]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
