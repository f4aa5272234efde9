"""What happens on the robot's account without the robot: other orders and trades, and movements of funds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from fortctl.model import FundsMoved, OrderUpdate
from fortctl.timestamps import rfc3339


class ActivityKind(StrEnum):
    """What somebody else did."""

    ORDER = "order"
    TRADE = "trade"
    FUNDS = "funds"
    OWN_CANCELLED = "own_cancelled"
    OWN_AMENDED = "own_amended"


class ForeignAction(StrEnum):
    """What the robot does about it."""

    WARN = "warn"
    PANIC = "panic"


class ForeignSettings(NamedTuple):
    """What counts as foreign, and what the robot does about it.

    Attributes:
        prefixes, symbols: how client order ids begin, and which symbols are traded, where the owner trades by hand.
    """

    prefixes: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    action: ForeignAction = ForeignAction.WARN

    def expects(self, symbol: str, client_order_id: str) -> bool:
        """Return whether the owner said that such an order is theirs."""
        return symbol in self.symbols or client_order_id.startswith(self.prefixes)


class ForeignActivity(NamedTuple):
    """One thing that somebody else did.

    Attributes:
        at: the exchange's time (ms).
        subject: the client order id, or the asset.
        detail: the words for a person.
    """

    kind: ActivityKind
    at: int
    subject: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return what the journal holds."""
        return {"kind": self.kind.value, "at": self.at, "subject": self.subject, "detail": self.detail}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ForeignActivity:
        """Read what :meth:`to_json` wrote."""
        return cls(ActivityKind(fields["kind"]), int(fields["at"]), str(fields["subject"]), str(fields["detail"]))

    def row(self) -> dict[str, Any]:
        """Return what ``robot status`` and hooks show."""
        return {**self.to_json(), "at": rfc3339(self.at)}


def foreign_order(update: OrderUpdate, settings: ForeignSettings) -> ForeignActivity | None:
    """Return what an update of an order that is not the robot's shows; None where nothing is new or it is expected."""
    order = update.order
    if update.execution_type not in ("NEW", "TRADE") or settings.expects(order.symbol, order.client_order_id):
        return None
    words = f"{order.side.value} {order.quantity:f} {order.symbol} ({order.client_order_id})"
    if update.fill is None:
        return ForeignActivity(
            ActivityKind.ORDER, update.event_time, order.client_order_id, f"somebody placed an order: {words}"
        )
    return ForeignActivity(
        ActivityKind.TRADE,
        update.event_time,
        order.client_order_id,
        f"an order that is not the robot's traded: {words}",
    )


def own_order(update: OrderUpdate, name: str, *, final: bool, cancelling: bool) -> ForeignActivity | None:
    """Return what somebody else did to an order of the robot, or None.

    Args:
        name: its client order id in the journal.
        final: the book knew its end before this update.
        cancelling: the robot asked for its cancellation.
    """
    at = update.event_time
    if update.execution_type == "CANCELED" and not final and not cancelling:
        words = f"an order of the robot was cancelled, and not by the robot: {name}"
        return ForeignActivity(ActivityKind.OWN_CANCELLED, at, name, words)
    if update.execution_type == "REPLACED":
        words = f"somebody amended an order of the robot: {name}, now {update.order.quantity:f}"
        return ForeignActivity(ActivityKind.OWN_AMENDED, at, name, words)
    return None


def funds_moved(event: FundsMoved) -> ForeignActivity:
    """Return what a movement of funds shows: no order explains it, so nobody but a person or a thief made it."""
    way = "into" if event.change > 0 else "out of"
    words = f"{abs(event.change):f} {event.asset} moved {way} the account"
    return ForeignActivity(ActivityKind.FUNDS, event.event_time, event.asset, words)
