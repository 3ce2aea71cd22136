"""Passwords: argon2id off the event loop, with the same work for users who do not exist."""

import asyncio
from concurrent.futures import Executor
from functools import cached_property

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher


def hasher() -> PasswordHash:
    """OWASP's argon2id parameters: m=19456 KiB, t=2, p=1, about 20 ms of one core."""
    return PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19_456, parallelism=1),))


class Passwords:
    """`executor` should have one thread: each thread that ever hashed keeps 19 MiB for the next time."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._hasher = hasher()

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """False where `password_hash` is None, after the time that a comparison takes."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._matches, password, password_hash)

    def _matches(self, password: str, password_hash: str | None) -> bool:
        nobody = self._nobody  # made at the first call whoever it is for, so that its time tells nothing
        try:
            return self._hasher.verify(password, password_hash or nobody) and password_hash is not None
        except UnknownHashError:
            return False

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash("nobody has this password")
