"""Secrets are kept as Mosquitto reads them, and only the right one matches."""

import hashlib
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.secrets import ITERATIONS, HashedSecret, hash_secret, matches

SALTS = st.binary(min_size=12, max_size=12)


@given(secret=st.text(), salt=SALTS)
def test_only_the_secret_itself_matches(secret: str, salt: bytes) -> None:
    hashed = hash_secret(secret, salt)
    assert matches(secret, hashed)
    assert not matches(secret + "x", hashed)
    assert not matches(secret, replace(hashed, digest=bytes(64)))


@given(one=SALTS, other=SALTS)
def test_the_salt_makes_equal_secrets_differ(one: bytes, other: bytes) -> None:
    assume(one != other)
    assert hash_secret("same", one).digest != hash_secret("same", other).digest


def test_the_form_is_mosquittos() -> None:
    hashed = hash_secret("secret", b"salt" * 3)
    assert hashed.iterations == ITERATIONS == 101
    assert hashed.digest == hashlib.pbkdf2_hmac("sha512", b"secret", b"salt" * 3, 101)
    assert len(hashed.digest) == 64


@settings(max_examples=10)
@given(st.integers(1, 300))
def test_a_hash_made_with_other_rounds_still_matches(rounds: int) -> None:
    hashed = hash_secret("secret", b"salt", rounds)
    assert hashed == HashedSecret(b"salt", rounds, hashed.digest)
    assert matches("secret", hashed)
