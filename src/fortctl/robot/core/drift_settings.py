"""What the configuration says about watching a key and an account. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WatchAction(StrEnum):
    """What a robot does about something dangerous that others did."""

    WARN = "warn"
    HOLD = "hold"
    PANIC = "panic"


@dataclass(frozen=True)
class DriftSettings:
    """How the robot watches its key.

    Attributes:
        interval_s: seconds between two questions about what the key may do.
        action: what it does when the key gets a right to move funds out of the account.
        expiry_warning_ms: so long (ms) before the trading permission ends, that is reported.
    """

    interval_s: float = 300.0
    action: WatchAction = WatchAction.HOLD
    expiry_warning_ms: int = 14 * 86_400_000
