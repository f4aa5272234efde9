"""What time it is at the exchange: measured once, then carried on by a clock that nobody sets. Pure but for that."""

from __future__ import annotations

from fortctl.ports import Clock

# How far the time that comes with another answer and this host's clock may lie apart (ms) to bear each other out.
CLOCKS_AGREE_MS = 500
# Beyond this (ms) a wall clock was set, or a monotonic one stood still.
CLOCKS_DRIFTED_MS = 60_000


class ExchangeClock:
    """The exchange's time as this host can tell it.

    Args:
        clock: this host's clocks; the monotonic one goes on while the machine sleeps.
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
        """Take the time (ms) that was asked for by itself at ``asked_at`` (monotonic seconds) and answered just now."""
        self._measured = (theirs, (asked_at + self._clock.monotonic()) / 2)
        self._offset_then, self._invalid = self._offset(), False

    def try_set(self, theirs: int, asked_at: float) -> bool:
        """Take the time that another answer bore, if this host's clock bears it out: it may be an old one.

        Args:
            theirs: the exchange's time (ms); 0: the answer bore none.
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
        """The exchange refused a timestamp: nothing but its own answer to that question is believed next."""
        self._invalid = True

    @property
    def drifted(self) -> bool:
        """Whether this host's clocks have parted since: somebody set one of them, or the machine slept."""
        return self._measured is not None and abs(self._offset() - self._offset_then) > CLOCKS_DRIFTED_MS

    def _offset(self) -> float:
        return self._clock.now_ms() - self._clock.monotonic() * 1000
