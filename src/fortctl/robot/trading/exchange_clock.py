"""The exchange's time: measured once, then carried on by this host's monotonic clock."""

from __future__ import annotations

from fortctl.ports import Clock

# The time that comes with another answer is confirmed by this host's clock if they differ by no more than this (ms).
CLOCKS_AGREE_MS = 500
# If they differ by more than this (ms), a wall clock was set or a monotonic clock stood still.
CLOCKS_DRIFTED_MS = 60_000


class ExchangeClock:
    """The exchange's time as this host knows it.

    Args:
        clock: this host's clocks; the monotonic one runs on while the machine sleeps.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # The exchange's time (ms) and our monotonic time (s) when it was measured.
        self._measured: tuple[int, float] | None = None
        # By how much this host's wall clock lay ahead of its monotonic one then (ms).
        self._offset_then = 0.0
        # The exchange refused a timestamp: its time must be asked for by itself.
        self._invalid = False
        self._began = clock.monotonic()

    def now(self) -> int:
        """Return the exchange's time (ms); before it was ever measured, this host's."""
        if self._measured is None:
            return self._clock.now_ms()
        theirs, here = self._measured
        return theirs + round((self._clock.monotonic() - here) * 1000)

    def process_start(self) -> int:
        """Return the exchange's time (ms) since when nobody but this process can have sent anything."""
        return self.now() - round((self._clock.monotonic() - self._began) * 1000)

    def set(self, theirs: int, asked_at: float) -> None:
        """Set the time (ms) that the exchange, asked at ``asked_at`` (monotonic seconds), answered just now."""
        self._measured = (theirs, (asked_at + self._clock.monotonic()) / 2)
        self._offset_then, self._invalid = self._offset(), False

    def try_set(self, theirs: int, asked_at: float) -> bool:
        """Set the time that came with another answer, if this host's clock confirms it: a cached answer has an old one.

        Args:
            theirs: the exchange's time (ms); 0 where the answer had none.
            asked_at: monotonic seconds when the request left.

        Returns:
            Whether the time is measured now.
        """
        halfway = (self._clock.monotonic() - asked_at) / 2
        if self._invalid or abs(theirs - self._clock.now_ms() + halfway * 1000) > CLOCKS_AGREE_MS:
            return False
        self.set(theirs, asked_at)
        return True

    def invalidate(self) -> None:
        """Note that the exchange refused a timestamp; the time is next set only by asking for it."""
        self._invalid = True

    @property
    def drifted(self) -> bool:
        """Whether this host's clocks have drifted apart since: somebody set one of them, or the machine slept."""
        return self._measured is not None and abs(self._offset() - self._offset_then) > CLOCKS_DRIFTED_MS

    def _offset(self) -> float:
        return self._clock.now_ms() - self._clock.monotonic() * 1000
