"""What ``robot status`` shows of a book: the JSON object ``robot{…}``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from fortctl.model import AccountState
from fortctl.robot.core.book import Book
from fortctl.robot.core.cycle import order_row
from fortctl.robot.core.events import Cancel, Intent, Place
from fortctl.robot.core.filters import format_money
from fortctl.robot.core.hold_reasons import HoldReason
from fortctl.timestamps import rfc3339

# An idle robot asks the exchange after half a minute of silence.
SILENT_S = 120.0
TRADING = ("running", "draining", "reconciling")


def robot_status(
    book: Book, state: str, price: Decimal | None = None, waits: Sequence[str] = (), *, silent_s: float = 0.0
) -> dict[str, Any]:
    """Return the ``robot{…}`` of ``robot status --json`` from a book in a given state.

    Args:
        price: the last price.
        waits: why planned orders are not placed; ``reason`` of a robot that trades.
        silent_s: seconds since the exchange or its streams last sent something.
    """
    settings, reason = book.settings, book.reason
    if silent_s >= SILENT_S:
        waits = (f"EXCHANGE: it has not answered for {int(silent_s // 60)} min: nothing can be placed", *waits)
    waits = waits if state in TRADING else ()
    if state == "held" or waits:
        reason = "; ".join(map(str, book.hold if state == "held" else waits))
    orders = [order for order in book.unsettled() if not order.final]
    return {
        "state": state,
        "reason": reason,
        "since": rfc3339(book.since) if book.since else None,
        "cycles": book.counts(),
        "orders_open": len(orders),
        "orders": [order_row(order) for order in orders],
        "realised_profit": format_money(book.profit),
        "profit_asset": book.quote or None,
        "last_event_at": rfc3339(book.last_at) if book.last_at else None,
        "price": f"{price:f}" if price is not None else None,
        "hold": [str(held) for held in book.hold],
        "waits": list(waits),
        "book": {asset: format_money(amount) for asset, amount in sorted(book.moved.items()) if asset},
        "inventory": format_money(book.inventory()),
        "config": settings.as_json() if settings else {},
    }


def balance_rows(book: Book, account: AccountState) -> list[dict[str, str]]:
    """Return the account's balances of the assets that a book is concerned with."""
    assets = {book.base, book.quote, *book.moved}
    return [
        {"asset": balance.asset, "free": f"{balance.free:f}", "locked": f"{balance.locked:f}"}
        for balance in account.balances
        if balance.asset in assets
    ]


ZERO = Decimal(0)


def numbered_reasons(reasons: Sequence[HoldReason]) -> list[dict[str, Any]]:
    """Return the reasons to hold as ``{number, code, text}``."""
    return [
        {"number": number, "code": str(reason.code), "text": reason.detail} for number, reason in enumerate(reasons, 1)
    ]


def resume_preview(book: Book, intents: Sequence[Intent], price: Decimal | None) -> dict[str, Any]:
    """Return what ``robot resume`` would do immediately.

    Args:
        intents: the strategy's plan at the present price.
        price: the last price.
    """
    places = [intent for intent in intents if isinstance(intent, Place)]
    kept = [order for order in book.unsettled() if not order.final]
    have, cost = book.inventory(), sum((c.held_quantity * c.unit_cost for c in book.live_cycles()), book.dust_cost)
    return {
        "wish": book.mode.value,
        "keeps": {
            "orders": len(kept),
            "buys_worth": _worth((o.price, o.quantity - o.executed) for o in kept if o.leg == "buy"),
            "sells_worth": _worth((o.price, o.quantity - o.executed) for o in kept if o.leg == "sell"),
        },
        "places": [
            {
                "side": place.leg.upper(),
                "price": f"{place.price:f}",
                "quantity": f"{place.quantity:f}",
                "worth": format_money(place.price * place.quantity),
            }
            for place in places
        ],
        "places_worth": _worth((place.price, place.quantity) for place in places),
        "cancels": [intent.client_order_id for intent in intents if isinstance(intent, Cancel)],
        "inventory": {
            "quantity": f"{have:f}",
            "cost": format_money(cost),
            "worth_now": format_money(have * price) if price is not None else None,
            "unrealised_profit": format_money(have * price - cost) if price is not None else None,
        },
        "asset": book.quote or None,
    }


def _worth(rows: Iterable[tuple[Decimal, Decimal]]) -> str:
    return format_money(sum((price * quantity for price, quantity in rows), ZERO))
