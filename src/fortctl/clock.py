"""The one place that reads the time."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's clocks; implements :class:`fortctl.ports.Clock`."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)

    def wait(self, seconds: float) -> None:
        """Sleep where no event loop runs."""
        time.sleep(seconds)
