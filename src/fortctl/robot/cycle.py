"""The life of one buy-sell cycle: one table of transitions. Pure.

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

TRANSITIONS: dict[tuple[CycleState, CycleEvent], CycleState] = {
    (S.PLANNED, E.BUY_SENT): S.BUYING,
    (S.BUYING, E.BUY_DONE): S.BOUGHT,
    (S.BUYING, E.BUY_EMPTY): S.CANCELLED,
    (S.BOUGHT, E.SELL_SENT): S.SELLING,
    (S.BOUGHT, E.TOO_SMALL): S.DUST,
    (S.SELLING, E.SELL_DONE): S.CLOSED,
    (S.SELLING, E.SELL_BACK): S.BOUGHT,
}
ILLEGAL: frozenset[tuple[CycleState, CycleEvent]] = frozenset(
    (state, event) for state in CycleState for event in CycleEvent if (state, event) not in TRANSITIONS
)
FINAL = frozenset({S.CLOSED, S.CANCELLED, S.DUST})


def advance(state: CycleState, event: CycleEvent) -> CycleState:
    """Return the state after an event. Raises ``IllegalTransition``."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"{event.value} in state {state.value}") from None
