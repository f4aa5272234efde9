"""Writes what changed to the state file (``--state``): many requests share a commit, and events wait for theirs.

An answer or an event leaves once what it states is on disk, so that no client knows of an order that a crash could
still undo. A commit costs the same for one request as for thirty: while one is being written, the next one gathers what
changes meanwhile (decision 0008).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from fortctl.paper.engine import errors
from fortctl.paper.engine.state import ExchangeState
from fortctl.paper.server.state_file import STATE_ERRORS, Batch, StateFile, collect

LINGER_S = 0.002


class StateWriter:
    """Writes what changed, one transaction at a time, in a thread of its own.

    Args:
        file: the state file.
        state: the exchange whose changes are written.
        position: returns the position of the replay.
        send_event: sends a user event (account, event) once it is durable.
        disk_full: returns whether a fault makes the next write fail; called in the writing thread.
    """

    def __init__(
        self,
        file: StateFile,
        state: ExchangeState,
        *,
        position: Callable[[], int],
        send_event: Callable[[str, dict[str, Any]], None],
        disk_full: Callable[[], bool],
    ) -> None:
        self._file = file
        self._state = state
        self._position = position
        self._send_event = send_event
        self._disk_full = disk_full
        # Events that wait for the commit of what they state.
        self._held: list[tuple[str, dict[str, Any]]] = []
        self._next: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        self._begins: asyncio.Handle | None = None
        self._lingers = False
        # How many requests wait for the next commit, and how many are expected to.
        self._waiting = self._expected = 0
        self._saved_position = -1
        self._writer = ThreadPoolExecutor(1, "paper-state")

    def restore(self) -> int | None:
        """Fill the exchange with what the file holds; return the replay's position, or None if the file is empty."""
        return self._file.restore(self._state)

    def save(self, *, position: bool = False) -> None:
        """Write what changed with the next commit; with ``position`` also when only the replay has advanced."""
        if self._state.changed or (position and self._position() != self._saved_position):
            self._waiting += 1
            self._schedule()

    def commit(self) -> asyncio.Future[None] | None:
        """Return the commit after which all that the exchange knows now is durable, or None if it is already."""
        return self._next or self._writing

    def send_when_durable(self, account: str, event: dict[str, Any]) -> None:
        """Send an event once what it states is durable."""
        self._held.append((account, event))
        self._schedule()

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._writer.shutdown()
        with suppress(*STATE_ERRORS):
            self._file.write(self._batch(self._state.changed))
        self._file.close()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.create_future()
            # Retrieve its failure, which asyncio otherwise logs when nobody waits for it.
            self._next.add_done_callback(lambda done: done.exception())
        if self._writing is None:
            self._begin_soon(loop)

    def _begin_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin at the end of this turn of the loop, or 2 ms later while more requests are expected.

        The clients that the last commit answered will send their next requests in a moment, and can share one commit.
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
        """Hand what changed to the writing thread; later changes go with the next commit."""
        self._begins = None
        assert self._next is not None
        self._writing, self._next = self._next, None
        answered, self._waiting = self._waiting, 0
        held, self._held = self._held, []
        state = self._state
        changed, state.changed = state.changed, set()
        batch, position = self._batch(changed), self._position()

        def ended(done: asyncio.Future[None]) -> None:
            self._expected = answered + self._waiting
            waiting, self._writing = self._writing, None
            assert waiting is not None
            if done.cancelled() or done.exception() is not None:
                # The next commit writes it.
                state.changed |= changed
                self._held = held + self._held
                if not waiting.done():
                    waiting.set_exception(errors.INTERNAL)
            else:
                self._saved_position = position
                for account, event in held:
                    self._send_event(account, event)
                if not waiting.done():
                    waiting.set_result(None)
            if self._next is not None:
                self._begin_soon(asyncio.get_running_loop())

        asyncio.get_running_loop().run_in_executor(self._writer, self._write, batch).add_done_callback(ended)

    def _batch(self, changed: set[tuple[str, str]]) -> Batch:
        return collect(self._state, changed, self._position())

    def _write(self, batch: Batch) -> None:
        if self._disk_full():
            raise OSError("disk full, by a fault")
        self._file.write(batch)
