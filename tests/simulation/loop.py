"""An event loop on simulated time, with processes that can be killed or frozen between any two of their steps.

Time jumps to the next timer as soon as nothing is left to do now, so a simulated day costs what happens in it. Whatever
a process does runs through callbacks that bear its mark: a dead process's callbacks never run again (no ``finally``,
no farewell: what SIGKILL does), a frozen one's wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_OWNER: contextvars.ContextVar[SimProcess | None] = contextvars.ContextVar("simulated_process", default=None)


class Killed(BaseException):
    """SIGKILL in the middle of a step: nothing of the process runs after it."""


class DeadlockError(Exception):
    """Nothing is left that could ever happen."""


class SimProcess:
    """What SIGKILL, SIGSTOP and SIGCONT are sent to."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.dead = False
        self.frozen = False
        self._parked: list[tuple[SimLoop, Callable[..., Any], tuple[Any, ...], contextvars.Context]] = []

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start work as this process."""
        context = contextvars.copy_context()
        context.run(_OWNER.set, self)
        task = asyncio.get_running_loop().create_task(work, context=context)
        task.add_done_callback(_swallow)
        return task

    def kill(self) -> None:
        self.dead = True
        self._parked.clear()

    def stop(self) -> None:
        self.frozen = True

    def go_on(self) -> None:
        self.frozen = False
        parked, self._parked = self._parked, []
        for loop, callback, arguments, context in parked:
            loop.call_soon(callback, *arguments, context=context)

    def runs(self, loop: SimLoop, callback: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
        """Return whether a step may run now; a frozen process's is kept for later."""
        if self.dead:
            return False
        if self.frozen:
            self._parked.append((loop, callback, arguments, contextvars.copy_context()))
            return False
        return True


def present_process() -> SimProcess | None:
    """Return the process that the running step belongs to, or None for the world itself."""
    return _OWNER.get()


def _swallow(task: asyncio.Task[Any]) -> None:
    # The world asks a task for its result; what nobody asks for must not be reported at the end.
    if not task.cancelled():
        task.exception()


class _Instant(selectors.SelectSelector):
    """Waits for nothing: lets the loop's time jump instead."""

    def __init__(self) -> None:
        super().__init__()
        self.jump: Callable[[float], None] = lambda seconds: None

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise DeadlockError("nothing is left that could ever happen")
        if timeout > 0:
            self.jump(timeout)
        return []


class SimLoop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self._simulated = 0.0
        selector = _Instant()
        selector.jump = self._jump
        super().__init__(selector)
        self._over = False
        # A dead process's coroutines must not be collected (which would run their ``finally``) while the world goes on.
        self._kept: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._keep)

    def _keep(self, loop: Any, work: Any, **named: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **named)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._kept.append(task)
        return task

    def end(self) -> None:
        """Put away whatever still hangs, while everything that it refers to is there."""
        self._over = True
        for task in self._kept:
            if not task.done():
                with contextlib.suppress(BaseException):
                    task.get_coro().close()  # type: ignore[union-attr]
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]
        self._kept.clear()
        self.close()

    def _jump(self, seconds: float) -> None:
        self._simulated += seconds

    def time(self) -> float:
        return self._simulated

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        if self._over:
            return asyncio.Handle(callback, args, self, context)
        return super().call_soon(self._guarded(callback, context), *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        return super().call_at(when, self._guarded(callback, context), *args, context=context)

    def _guarded(self, callback: Any, context: contextvars.Context | None) -> Any:
        owner = _OWNER.get() if context is None else context.get(_OWNER)
        if owner is None or getattr(callback, "guards", None) is owner:
            return callback

        def step(*args: Any) -> None:
            if owner.runs(self, step, args):
                callback(*args)

        step.guards = owner  # type: ignore[attr-defined]
        return step


def play(scene: Coroutine[Any, Any, T]) -> T:
    """Run one scene on a loop of its own, to its end."""
    loop = SimLoop()
    loop.set_exception_handler(lambda _loop, _context: None)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(scene)
    finally:
        asyncio.set_event_loop(None)
        loop.end()


def simulated(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Let a test that is a coroutine run on simulated time."""

    @functools.wraps(test)
    def run(*args: Any, **named: Any) -> None:
        play(test(*args, **named))

    return run
