"""Coroutines in tests, run to their end."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def finished(coroutine: Coroutine[None, None, Result]) -> Result:
    """What a coroutine returns; run in a thread of its own, since a browser that is open has a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
