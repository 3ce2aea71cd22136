"""Log-in, refresh and roles."""

import asyncio
import base64
import statistics
import time
from typing import Any

import httpx
import jwt
import pytest

from api.access import RANK, TABLE
from tests.sites import OWNER, PASSWORD, Site

CREDENTIALS = {"email": OWNER, "password": PASSWORD}


async def log_in(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.post("/auth/login", json=CREDENTIALS)
    assert answer.status_code == 200
    return dict(answer.json())


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/auth/refresh", json={"refresh_token": token})


async def test_log_in_answers_tokens_that_say_who_one_is(anybody: httpx.AsyncClient) -> None:
    tokens = await log_in(anybody)
    assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 900)
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    me = (await anybody.get("/auth/me", headers=bearer)).json()
    assert (me["org"], me["email"], me["role"]) == ("demo", OWNER, "owner")
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert claims.keys() == {"iss", "aud", "sub", "org", "role", "jti", "iat", "exp"}
    assert jwt.get_unverified_header(tokens["access_token"])["alg"] == "HS256"


@pytest.mark.parametrize("body", [{**CREDENTIALS, "password": "x"}, {**CREDENTIALS, "email": "nobody@x.y"}])
async def test_wrong_credentials_read_the_same(anybody: httpx.AsyncClient, body: dict[str, str]) -> None:
    answer = await anybody.post("/auth/login", json=body)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    assert answer.json()["detail"] == "unknown email or wrong password"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_an_unknown_user_takes_as_long_as_a_wrong_password(anybody: httpx.AsyncClient) -> None:
    async def took(email: str) -> float:
        started = time.perf_counter()
        await anybody.post("/auth/login", json={"email": email, "password": "x"})
        return time.perf_counter() - started

    known = statistics.median([await took(OWNER) for _ in range(9)])
    unknown = statistics.median([await took("nobody@x.y") for _ in range(9)])
    assert unknown > known / 2  # without the work it would be a tenth


@pytest.mark.parametrize("email", [{"$gt": ""}, {"$ne": None}, ["owner"], None, "x" * 300])
async def test_operators_are_no_email(anybody: httpx.AsyncClient, email: Any) -> None:
    answer = await anybody.post("/auth/login", json={"email": email, "password": "x"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert "x" * 20 not in answer.json()["detail"] or len(answer.text) < 2000


async def test_refresh_rotates_and_a_reused_token_ends_the_family(anybody: httpx.AsyncClient) -> None:
    first = (await log_in(anybody))["refresh_token"]
    second = (await refresh(anybody, first)).json()["refresh_token"]
    assert second != first
    reused = await refresh(anybody, first)
    assert (reused.status_code, reused.json()["code"]) == (401, "token_reused")
    ended = await refresh(anybody, second)
    assert (ended.status_code, ended.json()["code"]) == (401, "invalid_token")


async def test_parallel_refreshes_have_one_winner(anybody: httpx.AsyncClient) -> None:
    token = (await log_in(anybody))["refresh_token"]
    answers = await asyncio.gather(*(refresh(anybody, token) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 49


async def test_another_log_in_is_another_family(anybody: httpx.AsyncClient) -> None:
    one, two = await log_in(anybody), await log_in(anybody)
    await refresh(anybody, one["refresh_token"])
    await refresh(anybody, one["refresh_token"])
    assert (await refresh(anybody, two["refresh_token"])).status_code == 200


async def test_log_out_ends_the_refresh_token(anybody: httpx.AsyncClient) -> None:
    token = (await log_in(anybody))["refresh_token"]
    assert (await anybody.post("/auth/logout", json={"refresh_token": token})).status_code == 204
    assert (await refresh(anybody, token)).status_code == 401
    assert (await anybody.post("/auth/logout", json={"refresh_token": "unknown"})).status_code == 204


async def test_what_is_no_access_token_of_ours_is_refused(anybody: httpx.AsyncClient, site: Site) -> None:
    key = site.settings.auth.key.get_secret_value()
    good = jwt.decode((await log_in(anybody))["access_token"], options={"verify_signature": False})
    forged = {
        "unsigned": jwt.encode(good, "", algorithm="none"),
        "other key": jwt.encode(good, "x" * 64, algorithm="HS256"),
        "other algorithm": jwt.encode(good, key, algorithm="HS512"),
        "expired": jwt.encode({**good, "exp": int(time.time()) - 1}, key, algorithm="HS256"),
        "other audience": jwt.encode({**good, "aud": "mqtt"}, key, algorithm="HS256"),
        "other issuer": jwt.encode({**good, "iss": "x"}, key, algorithm="HS256"),
        "no expiry": jwt.encode({k: v for k, v in good.items() if k != "exp"}, key, algorithm="HS256"),
        "odd role": jwt.encode({**good, "role": "root"}, key, algorithm="HS256"),
        "nonsense": "a.b.c",
    }
    for name, token in forged.items():
        answer = await anybody.get("/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401, name
    basic = base64.b64encode(b"demo/x:y").decode()
    assert (await anybody.get("/auth/me", headers={"Authorization": f"Basic {basic}"})).status_code == 401


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
async def test_a_role_may_call_what_the_table_grants_and_nothing_above(site: Site, role: Any) -> None:
    async with site.client(f"{role}@sluice.local") as client:
        for row, access in TABLE.items():
            method, _, path = row.partition(" ")
            if access.role is None or path == "/live":
                continue
            answer = await client.request(method, path.replace("{device}", "no-such-device"), json={})
            granted = RANK[role] >= RANK[access.role]
            assert (answer.status_code == 403) is not granted, (row, answer.text)
            if not granted:
                assert answer.json()["detail"] == f"this needs the role {access.role}; yours is {role}"


async def test_a_refused_password_is_not_repeated(anybody: httpx.AsyncClient) -> None:
    answer = await anybody.post("/auth/login", json={"email": 7001, "password": 7002})
    assert "7001" in answer.text
    assert "7002" not in answer.text
