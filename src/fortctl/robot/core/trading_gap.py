"""For how long no order could leave while a key was replaced (``key_swap`` of ``robot status``). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fortctl.timestamps import rfc3339

# By then the replaced key's stream has ended, and whatever its deletion interrupts works again.
SWAP_TAKES_S = 20.0


@dataclass
class TradingGap:
    """The gaps of one replacement, added up; times are monotonic seconds.

    Attributes:
        total: seconds in which no order could leave.
        report: ``{at, gap_s}``: when the last gap ended, and their sum in seconds; None before there was one.
    """

    total: float = 0.0
    report: dict[str, str] | None = None
    _until: float = 0.0
    _from: float | None = None

    def begin(self, now: float) -> None:
        """A key is to be replaced: gaps count from here on, for as long as that takes."""
        self.total, self._until = 0.0, now + SWAP_TAKES_S

    def open(self, now: float) -> None:
        """No order can leave from now on."""
        if self._from is None and now < self._until:
            self._from = now

    def close(self, now: float, at: int) -> None:
        """Orders can leave again.

        Args:
            now: monotonic seconds.
            at: the wall clock then (ms).
        """
        if self._from is not None:
            self.total += now - self._from
            self._from = None
            self.report = {"at": rfc3339(at) or "", "gap_s": f"{self.total:.6f}"}
