"""Keeps a cancellation that a driver swallowed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept() -> Iterator[None]:
    """Raises `CancelledError` where the task was cancelled within the body and nobody noticed.

    redis-py and PyMongo wait with `asyncio.wait_for`, which before Python 3.12 drops the cancellation of its
    task when what it waits for is ready at the same moment (python/cpython#86296). The task would never end.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
