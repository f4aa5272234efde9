"""What a held robot would do once a person lets it: the reasons by number, and the orders, with their money. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from fortctl.robot.book import Book
from fortctl.robot.events import Cancel, Intent, Place

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
            "buys_worth": f"{_worth((o.price, o.quantity - o.executed) for o in kept if o.leg == 'buy'):f}",
            "sells_worth": f"{_worth((o.price, o.quantity - o.executed) for o in kept if o.leg == 'sell'):f}",
        },
        "places": [
            {
                "side": place.leg.upper(),
                "price": f"{place.price:f}",
                "quantity": f"{place.quantity:f}",
                "worth": f"{place.price * place.quantity:f}",
            }
            for place in places
        ],
        "places_worth": f"{_worth((place.price, place.quantity) for place in places):f}",
        "cancels": [intent.client_order_id for intent in intents if isinstance(intent, Cancel)],
        "inventory": {
            "quantity": f"{have:f}",
            "cost": f"{cost:f}",
            "worth_now": f"{have * price:f}" if price is not None else None,
            "unrealised_profit": f"{have * price - cost:f}" if price is not None else None,
        },
        "asset": book.quote or None,
    }


def _worth(rows: Any) -> Decimal:
    return sum((price * quantity for price, quantity in rows), ZERO)
