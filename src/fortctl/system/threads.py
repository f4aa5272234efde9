"""Threads that are gone when their work is done: a robot that forgets a key overwrites memory as its only thread.

And such as nobody waits for: a panic tells what it did though some of its work hangs for ever.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_own_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread of its own, which ends with it (the loop's own threads stay for ever)."""
    executor = ThreadPoolExecutor(1)
    try:
        return await asyncio.wrap_future(executor.submit(function, *args, **kwargs))
    finally:
        executor.shutdown(wait=False)


async def run_in_daemon_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread of its own that the process does not wait for when it ends.

    Where the machine gives no thread any more, the function is run at once, and everything else waits for it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, failed = None, None
        try:
            result = function(*args, **kwargs)
        except BaseException as error:  # whoever waits hears of it
            failed = error
        # The loop is closed where nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failed)

    try:
        threading.Thread(target=work, daemon=True).start()
    except RuntimeError:
        return function(*args, **kwargs)
    return await done
