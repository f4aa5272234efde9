"""Threads that are gone when their work is done: a robot that forgets a key overwrites memory as its only thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread of its own, which ends with it (the loop's own threads stay for ever)."""
    executor = ThreadPoolExecutor(1)
    try:
        return await asyncio.wrap_future(executor.submit(function, *args, **kwargs))
    finally:
        executor.shutdown(wait=False)
