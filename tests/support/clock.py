"""The tests' clock, in the place of :mod:`fortctl.system.clock`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

START_MS = 1_700_000_000_000


class FakeClock:
    """Implements ``ports.Clock``: time passes while somebody sleeps or waits, and when a test lets it.

    Attributes:
        ms: the wall clock. A test that sets it sets the monotonic clock forward by as much.
        offset_ms: by how much the wall clock is wrong; the monotonic clock does not follow it.
        asleep_s: for how long the machine was suspended, which its monotonic clock did not notice.
        slept: what was slept or waited, in seconds, in order (where no loop moves the clock).
        waiting: called after each wait.
    """

    def __init__(self, ms: int = START_MS, *, follows_loop: bool = False) -> None:
        """Start at a time.

        Args:
            follows_loop: the event loop's clock moves this one (a simulated world's).
        """
        self._start_ms = self._set_ms = ms
        self._follows_loop = follows_loop
        self.offset_ms = 0
        self.asleep_s = 0.0
        self.slept: list[float] = []
        self.waiting: Callable[[], None] = lambda: None

    @property
    def ms(self) -> int:
        passed = round(asyncio.get_running_loop().time() * 1000) if self._follows_loop else 0
        return self._set_ms + passed + self.offset_ms

    @ms.setter
    def ms(self, value: int) -> None:
        self._set_ms += value - self.ms

    @property
    def s(self) -> float:
        """The wall clock in seconds."""
        return self.ms / 1000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        """Return the seconds since the clock was made."""
        if self._follows_loop:
            return asyncio.get_running_loop().time() - self.asleep_s
        return (self._set_ms - self._start_ms) / 1000 - self.asleep_s

    async def sleep(self, seconds: float) -> None:
        if self._follows_loop:
            await asyncio.sleep(seconds)
        else:
            self.slept.append(seconds)
            self.advance(seconds)

    def wait(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        self.waiting()

    def advance(self, seconds: float) -> None:
        """Let time pass; at least a millisecond, so that whoever polls comes to an end."""
        self._set_ms += max(1, round(seconds * 1000))
