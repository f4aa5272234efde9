"""The machine's clocks (adapter). No other module reads the time."""

from __future__ import annotations

import sys
import time


class SystemClock:
    """The machine's clocks; implements :class:`fortctl.ports.Clock`."""

    def now_ms(self) -> int:
        """Return the wall clock in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds of a clock that nobody sets; on Linux it also counts while the machine is suspended.

        Source: clock_gettime(2), CLOCK_BOOTTIME; CLOCK_MONOTONIC stops in a suspended machine.
        """
        return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run for so long."""
        import asyncio

        await asyncio.sleep(seconds)

    def wait(self, seconds: float) -> None:
        """Block the thread for so long."""
        time.sleep(seconds)
