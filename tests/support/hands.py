"""A clock that is turned by hand."""

from __future__ import annotations


class Hands:
    """Implements ``ports.Clock``: time passes only while somebody sleeps, or when a test turns it (``at``, s)."""

    def __init__(self, at: float = 0.0) -> None:
        self.at = at

    def now_ms(self) -> int:
        return int(self.at * 1000)

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
