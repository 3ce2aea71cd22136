"""Device secrets: long random strings, kept only as salted PBKDF2 hashes in the form Mosquitto reads.

A secret carries 192 bits of its own, so the work factor need not slow a guesser down: the 101 rounds are
Mosquitto's own default (`dynamic-security.json`, PBKDF2-HMAC-SHA512, 64 bytes).
"""

import hashlib
import hmac
from dataclasses import dataclass

ITERATIONS = 101
SALT_BYTES = 12  # Mosquitto's plugin passes over a user with any other length, without a word


@dataclass(frozen=True, slots=True)
class HashedSecret:
    salt: bytes
    iterations: int
    digest: bytes


def hash_secret(secret: str, salt: bytes, iterations: int = ITERATIONS) -> HashedSecret:
    digest = hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, iterations)
    return HashedSecret(salt, iterations, digest)


def matches(secret: str, hashed: HashedSecret) -> bool:
    """Constant-time comparison."""
    attempt = hash_secret(secret, hashed.salt, hashed.iterations)
    return hmac.compare_digest(attempt.digest, hashed.digest)
