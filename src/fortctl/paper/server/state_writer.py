"""When what changed is written (``--state``): commits that many requests share, and events that wait for theirs."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fortctl.paper.engine import errors
from fortctl.paper.server.state_file import STATE_ERRORS, Batch, StateFile, collect

if TYPE_CHECKING:
    from fortctl.paper.server.server import PaperServer

LINGER_S = 0.002


class StateWriter:
    """Writes what changed, one transaction at a time, in a thread of its own.

    Args:
        server: whose changes and events these are.
        state: where they are written.
    """

    def __init__(self, server: PaperServer, state: StateFile) -> None:
        self.state = state
        self._server = server
        # Events that wait for the commit of what they tell.
        self._held: list[tuple[str, dict[str, Any]]] = []
        self._next: asyncio.Future[None] | None = None
        self._flying: asyncio.Future[None] | None = None
        self._begins: asyncio.Handle | None = None
        self._lingers = False
        # How many requests wait for the next commit, and how many are to be expected.
        self._waiting = self._expected = 0
        self._saved_position = -1
        self._writer = ThreadPoolExecutor(1, "paper-state")

    def save(self, *, place: bool = False) -> None:
        if self._server.engine.changed or (place and self._server.pacer.position != self._saved_position):
            self._waiting += 1
            self._schedule()

    def commit(self) -> asyncio.Future[None] | None:
        """Return the commit after which all that the engine knows now is durable, or None."""
        return self._next or self._flying

    def hold(self, account: str, event: dict[str, Any]) -> None:
        """Tell an event once what it tells is durable: nobody hears of an order that a crash could still undo."""
        self._held.append((account, event))
        self._schedule()

    def close(self) -> None:
        self._writer.shutdown()
        with suppress(*STATE_ERRORS):
            self.state.write(self._batch(self._server.engine.changed))
        self.state.close()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.create_future()
            # Its failure concerns who waits for it, and perhaps nobody does.
            self._next.add_done_callback(lambda done: done.exception())
        if self._flying is None:
            self._begin_soon(loop)

    def _begin_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin at the end of this turn of the loop, or a little later when more are to be expected.

        Whom the last commit answered will ask again in a moment, and may share the disk's next answer: a commit costs
        the same for one request as for thirty.
        """
        if self._waiting >= self._expected:
            if self._begins is not None and self._lingers:
                self._begins.cancel()
                self._begins = None
            self._begins = self._begins or loop.call_soon(self._begin)
            self._lingers = False
        elif self._begins is None:
            self._begins, self._lingers = loop.call_later(LINGER_S, self._begin), True

    def _begin(self) -> None:
        """Hand what changed to the writing thread; what changes meanwhile goes with the next commit."""
        self._begins = None
        assert self._next is not None
        self._flying, self._next = self._next, None
        answered, self._waiting = self._waiting, 0
        held, self._held = self._held, []
        engine = self._server.engine
        changed, engine.changed = engine.changed, set()
        batch, position = self._batch(changed), self._server.pacer.position

        def ended(done: asyncio.Future[None]) -> None:
            self._expected = answered + self._waiting
            waiting, self._flying = self._flying, None
            assert waiting is not None
            if done.cancelled() or done.exception() is not None:
                # It stays among what changed, and is written with the next commit.
                engine.changed |= changed
                self._held = held + self._held
                if not waiting.done():
                    waiting.set_exception(errors.INTERNAL)
            else:
                self._saved_position = position
                for account, event in held:
                    self._server.hub.tell_user(account, event)
                if not waiting.done():
                    waiting.set_result(None)
            if self._next is not None:
                self._begin_soon(asyncio.get_running_loop())

        asyncio.get_running_loop().run_in_executor(self._writer, self._write, batch).add_done_callback(ended)

    def _batch(self, changed: set[tuple[str, str]]) -> Batch:
        return collect(self._server.engine, changed, self._server.pacer.position)

    def _write(self, batch: Batch) -> None:
        faults = self._server.faults
        if faults.set_faults and faults.strikes("disk-full", self._server.clock.monotonic(), "a write of the state"):
            raise OSError("disk full, by a fault")
        self.state.write(batch)
