"""How long no order could leave while a key was replaced (``key_swap`` of ``robot status``). Pure."""

from __future__ import annotations

from dataclasses import dataclass

# By then a replaced key's stream is seen out, and what its deletion ends has begun again.
SWAP_TAKES_S = 20.0


@dataclass
class TradingGap:
    """The gaps of one replacement, added up; times are monotonic seconds.

    Attributes:
        total: seconds in which no order could leave.
    """

    total: float = 0.0
    _until: float = 0.0
    _from: float | None = None

    def begin(self, now: float) -> None:
        """A key is to be replaced: gaps count from here on, for as long as that takes."""
        self.total, self._until = 0.0, now + SWAP_TAKES_S

    def open(self, now: float) -> None:
        """No order can leave from now on."""
        if self._from is None and now < self._until:
            self._from = now

    def close(self, now: float) -> bool:
        """Orders can leave again; True when a gap ends here."""
        if self._from is None:
            return False
        self.total += now - self._from
        self._from = None
        return True
