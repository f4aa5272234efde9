"""Run a blocking function in a thread of its own (adapter).

asyncio's own worker threads stay for the life of the process, which is wrong in two cases. A robot overwrites a
forgotten key only while it has a single thread, so its threads must end with their work. A panic must report and exit
even while some of its work hangs, so its threads must not keep the process alive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    import asyncio

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_own_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread of its own, which ends with it."""
    # Imported here: what unlocks a vault loads this module, and most commands have no event loop.
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    executor = ThreadPoolExecutor(1)
    try:
        return await asyncio.wrap_future(executor.submit(function, *args, **kwargs))
    finally:
        executor.shutdown(wait=False)


async def run_in_daemon_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a daemon thread: the process may exit while it runs.

    If the machine refuses another thread, run the function in this one, which blocks the event loop.
    """
    import asyncio

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
        except BaseException as error:  # raised where the result is awaited
            failed = error
        # The loop is already closed if nobody awaits the result.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failed)

    try:
        threading.Thread(target=work, daemon=True).start()
    except RuntimeError:
        return function(*args, **kwargs)
    return await done
