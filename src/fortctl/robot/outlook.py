"""What a held robot would do once a person lets it: the reasons by number, and the orders, with their money. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from fortctl.robot.book import Book
from fortctl.robot.events import Cancel, Intent, Place
from fortctl.robot.rounding import shown

ZERO = Decimal(0)


def numbered(reasons: Sequence[str]) -> list[dict[str, Any]]:
    """Return the reasons to hold as ``{number, code, text}``."""
    rows = []
    for number, reason in enumerate(reasons, 1):
        code, _colon, text = reason.partition(": ")
        rows.append({"number": number, "code": code, "text": text or reason})
    return rows


def after_resume(book: Book, intents: Sequence[Intent], price: Decimal | None) -> dict[str, Any]:
    """Return what ``robot resume`` would do at once.

    Args:
        intents: what the strategy wants at the present price.
        price: the last price.
    """
    places = [intent for intent in intents if isinstance(intent, Place)]
    kept = [order for order in book.unsettled() if not order.final]
    have, cost = book.inventory(), sum((c.held_quantity * c.unit_cost for c in book.live_cycles()), book.dust_cost)
    return {
        "wish": book.wish.value,
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
                "worth": shown(place.price * place.quantity),
            }
            for place in places
        ],
        "places_worth": _worth((place.price, place.quantity) for place in places),
        "cancels": [intent.client_order_id for intent in intents if isinstance(intent, Cancel)],
        "inventory": {
            "quantity": f"{have:f}",
            "cost": shown(cost),
            "worth_now": shown(have * price) if price is not None else None,
            "unrealised_profit": shown(have * price - cost) if price is not None else None,
        },
        "asset": book.quote or None,
    }


def _worth(rows: Iterable[tuple[Decimal, Decimal]]) -> str:
    return shown(sum((price * quantity for price, quantity in rows), ZERO))
