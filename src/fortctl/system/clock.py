"""The one place that reads the time."""

from __future__ import annotations

import sys
import time


class SystemClock:
    """The machine's clocks; implements :class:`fortctl.ports.Clock`."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds by a clock that nobody sets, and that goes on while the machine sleeps where there is one.

        Source: clock_gettime(2), CLOCK_BOOTTIME; CLOCK_MONOTONIC stands still in a suspended machine.
        """
        return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)

    def wait(self, seconds: float) -> None:
        """Sleep where no event loop runs."""
        time.sleep(seconds)
