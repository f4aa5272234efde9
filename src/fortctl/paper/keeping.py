"""When what changed is written (``--state``): commits that many requests share, and events that wait for theirs."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fortctl.paper import refusals
from fortctl.paper.state import STATE_ERRORS, Batch, StateFile, collect

if TYPE_CHECKING:
    from fortctl.paper.server import PaperServer

LINGER_S, BUSY_S = 0.0005, 0.005


class Keeper:
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
        self._lingers, self._committed_at = False, 0.0
        self._saved_position = -1
        self._writer = ThreadPoolExecutor(1, "paper-state")

    def save(self, *, place: bool = False) -> None:
        if self._server.engine.changed or (place and self._server.pacer.position != self._saved_position):
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
        if self._next is None:
            loop = asyncio.get_running_loop()
            self._next = loop.create_future()
            # Its failure concerns who waits for it, and perhaps nobody does.
            self._next.add_done_callback(lambda done: done.exception())
            if self._flying is None and not self._lingers:
                self._lingers = True
                # Under load a short wait lets more requests share the disk's answer.
                busy = self._server.clock.monotonic() - self._committed_at < BUSY_S
                loop.call_later(LINGER_S if busy else 0.0, self._begin)

    def _begin(self) -> None:
        """Hand what changed to the writing thread; what changes meanwhile goes with the next commit."""
        self._lingers = False
        assert self._next is not None
        self._flying, self._next = self._next, None
        held, self._held = self._held, []
        engine = self._server.engine
        changed, engine.changed = engine.changed, set()
        batch, position = self._batch(changed), self._server.pacer.position

        def ended(done: asyncio.Future[None]) -> None:
            self._committed_at = self._server.clock.monotonic()
            waiting, self._flying = self._flying, None
            assert waiting is not None
            if done.cancelled() or done.exception() is not None:
                # It stays among what changed, and is written with the next commit.
                engine.changed |= changed
                self._held = held + self._held
                if not waiting.done():
                    waiting.set_exception(refusals.INTERNAL)
            else:
                self._saved_position = position
                for account, event in held:
                    self._server.hub.tell_user(account, event)
                if not waiting.done():
                    waiting.set_result(None)
            if self._next is not None:
                self._lingers = True
                asyncio.get_running_loop().call_later(LINGER_S, self._begin)

        asyncio.get_running_loop().run_in_executor(self._writer, self._write, batch).add_done_callback(ended)

    def _batch(self, changed: set[tuple[str, str]]) -> Batch:
        return collect(self._server.engine, changed, self._server.pacer.position)

    def _write(self, batch: Batch) -> None:
        faults = self._server.faults
        if faults.set_faults and faults.strikes("disk-full", self._server.clock.monotonic()):
            raise OSError("disk full, by a fault")
        self.state.write(batch)
