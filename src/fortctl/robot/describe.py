"""The contract's ``robot{…}``, from the book. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from fortctl.model import AccountState
from fortctl.robot.book import Book
from fortctl.robot.records import order_row
from fortctl.robot.rounding import shown
from fortctl.timestamps import rfc3339

# An idle robot asks after half a minute of silence.
SILENT_S = 120.0
TRADING = ("running", "draining", "reconciling")


def describe(
    book: Book, state: str, price: Decimal | None = None, waits: Sequence[str] = (), *, silent_s: float = 0.0
) -> dict[str, Any]:
    """Return what ``robot status`` shows of a book in a given state.

    Args:
        price: the last price.
        waits: why something that would be wanted is not placed; the reason of a robot that trades.
        silent_s: for how many seconds the exchange was not heard.
    """
    settings, reason = book.settings, book.reason
    if silent_s >= SILENT_S:
        waits = (f"EXCHANGE: it has not answered for {int(silent_s // 60)} min: nothing can be placed", *waits)
    waits = waits if state in TRADING else ()
    if state == "held" or waits:
        reason = "; ".join(book.hold if state == "held" else waits)
    orders = [order for order in book.unsettled() if not order.final]
    return {
        "state": state,
        "reason": reason,
        "since": rfc3339(book.since) if book.since else None,
        "cycles": book.counts(),
        "orders_open": len(orders),
        "orders": [order_row(order) for order in orders],
        "realised_profit": shown(book.profit),
        "profit_asset": book.quote or None,
        "last_event_at": rfc3339(book.last_at) if book.last_at else None,
        "price": f"{price:f}" if price is not None else None,
        "hold": list(book.hold),
        "waits": list(waits),
        "book": {asset: shown(amount) for asset, amount in sorted(book.moved.items()) if asset},
        "inventory": shown(book.inventory()),
        "config": settings.as_json() if settings else {},
    }


def balance_rows(book: Book, account: AccountState) -> list[dict[str, str]]:
    """Return what the account has of the assets that concern a book."""
    assets = {book.base, book.quote, *book.moved}
    return [
        {"asset": one.asset, "free": f"{one.free:f}", "locked": f"{one.locked:f}"}
        for one in account.balances
        if one.asset in assets
    ]
