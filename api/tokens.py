"""Access tokens: JWTs signed with HS256 (RFC 7519), good for minutes, checked without asking anyone."""

import secrets
from dataclasses import dataclass
from typing import Any

import jwt

from store.users import Role, User

ISSUER = "sluice"
AUDIENCE = "sluice-api"
ALGORITHM = "HS256"
MIN_KEY = 32  # bytes, as RFC 7518, 3.2 asks
_ROLES = ("owner", "admin", "operator", "viewer")


class TokenError(Exception):
    """Not a token of ours, or no longer; the message may be shown to the caller."""


@dataclass(frozen=True, slots=True)
class Claims:
    """`expires` in seconds since 1970."""

    user_id: str
    org: str
    role: Role
    expires: int


class AccessTokens:
    def __init__(self, key: str, ttl_s: int) -> None:
        if len(key.encode()) < MIN_KEY:
            raise ValueError(f"auth.key has {len(key.encode())} bytes; HS256 needs at least {MIN_KEY}")
        self._key = key
        self.ttl_s = ttl_s

    def issue(self, user: User, now: float) -> str:
        """`now` in seconds since 1970."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user.id,
            "org": user.org,
            "role": user.role,
            "jti": secrets.token_urlsafe(16),
            "iat": int(now),
            "exp": int(now) + self.ttl_s,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)

    def verify(self, token: str) -> Claims:
        """Raises `TokenError`."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise TokenError("the access token has expired") from error
        except jwt.InvalidTokenError as error:
            raise TokenError("the access token is not valid") from error
        if claims.get("role") not in _ROLES or not isinstance(claims.get("org"), str):
            raise TokenError("the access token is not valid")
        return Claims(claims["sub"], claims["org"], claims["role"], claims["exp"])
