"""Log-in, refresh, log-out."""

import time
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from api.access import Authorized
from api.answers import answer
from api.problems import Unauthenticated
from api.routes.queries import NO_QUERY
from api.services import Services, Using
from store.tokens import TokenReused
from store.users import Role, User

router = APIRouter(tags=["auth"], dependencies=NO_QUERY)

Token = Annotated[str, Field(min_length=1, max_length=200)]


class Login(BaseModel):
    model_config = ConfigDict(extra="forbid")
    email: Annotated[str, Field(min_length=1, max_length=254, examples=["owner@sluice.local"])]
    password: Annotated[str, Field(min_length=1, max_length=1024, examples=["correct horse battery staple"])]
    org: Annotated[str | None, Field(max_length=63, description="as in credentials.json; not needed")] = None


class RefreshToken(BaseModel):
    model_config = ConfigDict(extra="forbid")
    refresh_token: Annotated[Token, Field(examples=["Zr3mC0hQ2u9k.v1uJ0b7n4xYyqT"])]


class Tokens(BaseModel):
    access_token: str
    refresh_token: str
    token_type: Annotated[str, Field(examples=["bearer"])]
    expires_in: Annotated[int, Field(description="Seconds that the access token is good for", examples=[900])]


class Me(BaseModel):
    id: str
    org: Annotated[str, Field(examples=["demo"])]
    email: Annotated[str, Field(examples=["owner@sluice.local"])]
    role: Role


@router.post("/auth/login", response_model=Tokens)
async def log_in(body: Login, services: Using) -> Response:
    """An unknown email takes as long as a wrong password, and reads the same."""
    user = await services.users.by_email(body.email)
    is_right = await services.passwords.verify(body.password, user.password_hash if user else None)
    if user is None or not is_right:
        raise Unauthenticated("unknown email or wrong password", code="invalid_credentials")
    return _tokens(services, user, await services.refresh_tokens.start(user.id))


@router.post("/auth/refresh", response_model=Tokens)
async def refresh(body: RefreshToken, services: Using) -> Response:
    """A refresh token is good for one use; using one twice ends every session that came from its log-in."""
    user_id = await services.refresh_tokens.owner(body.refresh_token)
    user = await services.users.by_id(user_id) if user_id else None
    if user is None:
        raise Unauthenticated("the refresh token is unknown or has expired", code="invalid_token")
    try:
        rotated = await services.refresh_tokens.rotate(body.refresh_token)
    except TokenReused:
        raise Unauthenticated(
            "this refresh token was used before: log in again", code="token_reused"
        ) from None
    if rotated is None:
        raise Unauthenticated("the refresh token is unknown or has expired", code="invalid_token")
    return _tokens(services, user, rotated.token)


@router.post("/auth/logout", status_code=204)
async def log_out(body: RefreshToken, services: Using) -> None:
    """Ends the refresh token's family; an access token in use runs to its end, 15 minutes at most."""
    await services.refresh_tokens.revoke(body.refresh_token)


@router.get("/auth/me", response_model=Me)
async def me(caller: Authorized, services: Using) -> Me:
    user = await services.users.by_id(caller.actor)
    if user is None:
        raise Unauthenticated("this user is no more", code="invalid_token")
    return Me(id=user.id, org=user.org, email=user.email, role=user.role)


def _tokens(services: Services, user: User, refresh_token: str) -> Response:
    return answer(
        {
            "access_token": services.access_tokens.issue(user, time.time()),
            "refresh_token": refresh_token,
            "token_type": "bearer",
            "expires_in": services.access_tokens.ttl_s,
        }
    )
