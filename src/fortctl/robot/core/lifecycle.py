"""The robot's lifecycle: a few facts, each with its own table, and one table that derives the state. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from fortctl.robot.core.hold_reasons import HoldReason


class TradingMode(StrEnum):
    STOPPED = "stopped"
    RUNNING = "running"
    DRAINING = "draining"


class TradingModeEvent(StrEnum):
    START = "start"
    DRAIN = "drain"
    STOP = "stop"
    DRAINED = "drained"
    BROUGHT_UP = "brought_up"


class Key(StrEnum):
    NONE = "none"
    LOADED = "loaded"
    LOST = "lost"


class KeyEvent(StrEnum):
    SET = "set"
    LOSE = "lose"
    FORGET = "forget"


class Books(StrEnum):
    STALE = "stale"
    AGREED = "agreed"


TRADING_MODE: dict[tuple[TradingMode, TradingModeEvent], TradingMode] = {
    (TradingMode.STOPPED, TradingModeEvent.START): TradingMode.RUNNING,
    (TradingMode.STOPPED, TradingModeEvent.DRAIN): TradingMode.DRAINING,
    (TradingMode.STOPPED, TradingModeEvent.STOP): TradingMode.STOPPED,
    (TradingMode.STOPPED, TradingModeEvent.DRAINED): TradingMode.STOPPED,
    (TradingMode.STOPPED, TradingModeEvent.BROUGHT_UP): TradingMode.STOPPED,
    (TradingMode.RUNNING, TradingModeEvent.START): TradingMode.RUNNING,
    (TradingMode.RUNNING, TradingModeEvent.DRAIN): TradingMode.DRAINING,
    (TradingMode.RUNNING, TradingModeEvent.STOP): TradingMode.STOPPED,
    (TradingMode.RUNNING, TradingModeEvent.DRAINED): TradingMode.RUNNING,
    (TradingMode.RUNNING, TradingModeEvent.BROUGHT_UP): TradingMode.STOPPED,
    (TradingMode.DRAINING, TradingModeEvent.START): TradingMode.RUNNING,
    (TradingMode.DRAINING, TradingModeEvent.DRAIN): TradingMode.DRAINING,
    (TradingMode.DRAINING, TradingModeEvent.STOP): TradingMode.STOPPED,
    (TradingMode.DRAINING, TradingModeEvent.DRAINED): TradingMode.STOPPED,
    (TradingMode.DRAINING, TradingModeEvent.BROUGHT_UP): TradingMode.DRAINING,
}

KEY: dict[tuple[Key, KeyEvent], Key] = {
    (Key.NONE, KeyEvent.SET): Key.LOADED,
    (Key.NONE, KeyEvent.LOSE): Key.NONE,
    (Key.NONE, KeyEvent.FORGET): Key.NONE,
    (Key.LOADED, KeyEvent.SET): Key.LOADED,
    (Key.LOADED, KeyEvent.LOSE): Key.LOST,
    (Key.LOADED, KeyEvent.FORGET): Key.NONE,
    (Key.LOST, KeyEvent.SET): Key.LOADED,
    (Key.LOST, KeyEvent.LOSE): Key.LOST,
    (Key.LOST, KeyEvent.FORGET): Key.NONE,
}


@dataclass(frozen=True)
class LifecycleFacts:
    """All that is known of a robot's life; nothing else is stored.

    Attributes:
        candidate: a key is being verified beside the loaded one.
        hold: why the robot waits for a person; empty when it does not.
    """

    mode: TradingMode = TradingMode.STOPPED
    key: Key = Key.NONE
    candidate: bool = False
    books: Books = Books.STALE
    hold: tuple[HoldReason, ...] = ()
    latched: bool = False


# First match wins (robot.md, "What people see").
DERIVED: tuple[tuple[str, Callable[[LifecycleFacts], bool]], ...] = (
    ("latched", lambda facts: facts.latched),
    ("verifying", lambda facts: facts.candidate and facts.key is not Key.LOADED),
    ("key_lost", lambda facts: facts.key is Key.LOST),
    ("awaiting_key", lambda facts: facts.key is Key.NONE and facts.mode is not TradingMode.STOPPED),
    (
        "reconciling",
        lambda facts: facts.key is Key.LOADED and facts.books is Books.STALE and facts.mode is not TradingMode.STOPPED,
    ),
    ("held", lambda facts: bool(facts.hold)),
    ("draining", lambda facts: facts.mode is TradingMode.DRAINING),
    ("running", lambda facts: facts.mode is TradingMode.RUNNING),
    ("stopped", lambda facts: True),
)


def derive_state(facts: LifecycleFacts) -> str:
    """Return the state that people see."""
    return next(name for name, holds in DERIVED if holds(facts))


def may_trade(facts: LifecycleFacts) -> bool:
    """Return whether orders may be placed now."""
    return derive_state(facts) in ("running", "draining")
