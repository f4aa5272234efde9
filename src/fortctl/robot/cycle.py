"""The life of one buy-sell cycle: one table, every state by every event. Pure.

``planned → buying → bought → selling → closed``, or ``cancelled`` (nothing was bought), or ``dust`` (what was bought
is below the exchange's minimum).
"""

from __future__ import annotations

from enum import StrEnum


class CycleState(StrEnum):
    PLANNED = "planned"
    BUYING = "buying"
    BOUGHT = "bought"
    SELLING = "selling"
    CLOSED = "closed"
    CANCELLED = "cancelled"
    DUST = "dust"


class CycleEvent(StrEnum):
    BUY_SENT = "buy_sent"  # its intent is in the journal
    BUY_DONE = "buy_done"  # final at the exchange, with something bought, every fill booked
    BUY_EMPTY = "buy_empty"  # final, refused, or proved absent, with nothing bought
    SELL_SENT = "sell_sent"
    SELL_DONE = "sell_done"  # all that was offered is sold, every fill booked
    SELL_BACK = "sell_back"  # final, refused, or proved absent, with something left to sell
    TOO_SMALL = "too_small"  # what is left cannot be sold alone


class IllegalTransition(Exception):
    """An event that cannot happen in this state; nothing was changed."""


S, E = CycleState, CycleEvent

# What cannot happen in a state: an event that says so is refused, and nothing changes.
NEVER = None

# fmt: off
_COLUMNS = (
              E.BUY_SENT, E.BUY_DONE, E.BUY_EMPTY,  E.SELL_SENT, E.SELL_DONE, E.SELL_BACK, E.TOO_SMALL)
_ROWS: dict[CycleState, tuple[CycleState | None, ...]] = {
    S.PLANNED:   (S.BUYING,   NEVER,      NEVER,        NEVER,       NEVER,       NEVER,       NEVER),
    S.BUYING:    (NEVER,      S.BOUGHT,   S.CANCELLED,  NEVER,       NEVER,       NEVER,       NEVER),
    S.BOUGHT:    (NEVER,      NEVER,      NEVER,        S.SELLING,   NEVER,       NEVER,       S.DUST),
    S.SELLING:   (NEVER,      NEVER,      NEVER,        NEVER,       S.CLOSED,    S.BOUGHT,    NEVER),
    S.CLOSED:    (NEVER,      NEVER,      NEVER,        NEVER,       NEVER,       NEVER,       NEVER),
    S.CANCELLED: (NEVER,      NEVER,      NEVER,        NEVER,       NEVER,       NEVER,       NEVER),
    S.DUST:      (NEVER,      NEVER,      NEVER,        NEVER,       NEVER,       NEVER,       NEVER),
}
# fmt: on
TRANSITIONS: dict[tuple[CycleState, CycleEvent], CycleState | None] = {
    (state, event): after for state, row in _ROWS.items() for event, after in zip(_COLUMNS, row, strict=True)
}
FINAL = frozenset({S.CLOSED, S.CANCELLED, S.DUST})


def advance(state: CycleState, event: CycleEvent) -> CycleState:
    """Return the state after an event. Raises ``IllegalTransition``."""
    after = TRANSITIONS[state, event]
    if after is NEVER:
        raise IllegalTransition(f"{event.value} in state {state.value}")
    return after
