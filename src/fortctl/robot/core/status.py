"""What ``robot status`` shows of a book: the JSON object ``robot{…}``. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from fortctl.model import AccountState, Drift, KeyRights
from fortctl.robot.core.blocked_reason import BlockedReason
from fortctl.robot.core.book import Book, CycleCounts
from fortctl.robot.core.cycle import Order, describe_order
from fortctl.robot.core.events import Cancel, Intent, Place
from fortctl.robot.core.filters import format_money
from fortctl.robot.core.hold_reasons import HoldReason
from fortctl.timestamps import rfc3339

# An idle robot asks the exchange after half a minute of silence.
SILENT_S = 120.0
TRADING = ("running", "draining", "reconciling")


@dataclass(frozen=True)
class Contact:
    """When the exchange and the market last spoke, as this robot knows it.

    Attributes:
        now: this host's time (ms since the epoch).
        exchange_at: when the exchange or the user stream last sent something (ms); 0: never.
        market_at: when the market stream last brought a trade (ms); 0: never.
        exchange_fault: why the last request, or the user stream, got no answer; empty where it got one.
        market_fault: why the market stream is down; empty where it is up.
    """

    now: int
    exchange_at: int = 0
    market_at: int = 0
    exchange_fault: str = ""
    market_fault: str = ""

    def waits(self, symbol: str) -> list[BlockedReason]:
        """Return why a robot that trades can place nothing, or does not see the market."""
        waits, silent_s = [], (self.now - self.exchange_at) / 1000
        if self.exchange_fault or (self.exchange_at and silent_s >= SILENT_S):
            since = f"for {_duration(silent_s)}" if self.exchange_at else "yet"
            why = f" ({self.exchange_fault})" if self.exchange_fault else ""
            waits.append(BlockedReason("EXCHANGE", f"it has not answered {since}{why}: nothing can be placed"))
        if self.market_fault:
            waits.append(BlockedReason("MARKET", f"the stream of {symbol}'s trades is down ({self.market_fault})"))
        return waits

    def as_json(self) -> dict[str, Any]:
        """Return the fields of ``robot{…}``: when, and how many seconds ago."""
        return {
            "exchange_answered_at": rfc3339(self.exchange_at) if self.exchange_at else None,
            "exchange_answered_ago_s": self._ago(self.exchange_at),
            "market_moved_at": rfc3339(self.market_at) if self.market_at else None,
            "market_moved_ago_s": self._ago(self.market_at),
        }

    def _ago(self, at: int) -> float | None:
        return max(0.0, round((self.now - at) / 1000, 1)) if at else None


def _duration(seconds: float) -> str:
    return f"{int(seconds // 60)} min" if seconds >= 120 else f"{int(max(0.0, seconds))} s"


class KeyFacts(NamedTuple):
    """What the robot knows of its key now.

    Attributes:
        lost_at: when the loss was confirmed first (ms); None: the key is not lost.
        rights: what the exchange last said that the key may do; None: nothing yet.
        rights_at: when it said so (ms since the epoch).
        drift: how that differs from what a person accepted.
        books_agree: the robot has a key, and has compared its book with the exchange's since.
    """

    lost_at: int | None = None
    rights: KeyRights | None = None
    rights_at: int | None = None
    drift: tuple[Drift, ...] = ()
    books_agree: bool = False


class RobotFacts(NamedTuple):
    """What the robot's own process reads of its robot at one moment; the JSON object ``robot{…}`` is for others.

    Attributes:
        state: the state that people see.
        symbol: what is traded; empty before the first settings.
        orders_open: the orders that are open at the exchange, as far as the robot knows.
        hold: the reasons that hold it.
        profit: what its closed cycles earned, net of commissions, in ``profit_asset``.
        last_event_age: seconds since the last event of its own orders; None before the first.
        heard_age: seconds since the exchange or one of its streams last sent something.
        stuck: for how many seconds the worker has not moved although it should have.
    """

    state: str
    symbol: str = ""
    orders_open: int = 0
    cycles: CycleCounts = CycleCounts()
    hold: tuple[HoldReason, ...] = ()
    profit: Decimal = Decimal(0)
    profit_asset: str = ""
    last_event_age: float | None = None
    heard_age: float = 0.0
    stuck: float = 0.0
    key: KeyFacts = KeyFacts()


def orders_at_exchange(book: Book, in_doubt: Collection[str]) -> list[Order]:
    """Return the orders that are open at the exchange, as far as a book knows: not final, reported, not in doubt."""
    open_now = (order for order in book.unsettled() if not order.final and order.status is not None)
    return [order for order in open_now if order.client_order_id not in in_doubt]


def robot_status(
    book: Book,
    state: str,
    price: Decimal | None = None,
    waits: Sequence[BlockedReason] = (),
    *,
    since: int = 0,
    contact: Contact | None = None,
    in_doubt: Collection[str] = (),
) -> dict[str, Any]:
    """Return the ``robot{…}`` of ``robot status --json`` from a book in a given state.

    Args:
        price: the last price.
        waits: why planned orders are not placed; ``reason`` of a robot that trades.
        since: when it came into this state (this host's clock, ms); 0: unknown.
        contact: when exchange and market last spoke.
        in_doubt: the orders that are being looked up; so are those that the exchange has never reported.
    """
    settings, reason = book.settings, book.reason
    if state not in TRADING:
        waits = ()
    elif contact is not None:
        waits = (*contact.waits(book.symbol), *waits)
    if state == "held" or waits:
        reason = "; ".join(map(str, book.hold if state == "held" else waits))
    orders = [order for order in book.unsettled() if not order.final]
    known = len(orders_at_exchange(book, in_doubt))
    return {
        "state": state,
        "reason": reason,
        "since": rfc3339(since) if since else None,
        **(contact or Contact(0)).as_json(),
        "cycles": book.counts()._asdict(),
        "orders_open": known,
        "orders_in_doubt": len(orders) - known,
        "orders": [describe_order(order).to_json() for order in orders],
        "realised_profit": format_money(book.profit),
        "profit_asset": book.quote or None,
        "last_event_at": rfc3339(book.last_at) if book.last_at else None,
        "price": f"{price:f}" if price is not None else None,
        "hold": [str(held) for held in book.hold],
        "waits": [str(wait) for wait in waits],
        "foreign_activity": [activity.row() for activity in book.foreign],
        "key_drift": [drift.to_json() for drift in book.drift],
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


def rights_row(rights: KeyRights | None, asked_at: int | None, unread: str) -> dict[str, Any] | None:
    """Return what the key may do, as the exchange last said; None where it never did.

    Args:
        asked_at: when it said so (ms since the epoch).
        unread: why it did not when it was asked after that; empty where it was not asked, or answered.
    """
    if rights is None:
        return None
    fields = rights.to_json()
    return {**fields, "expires_at": rfc3339(rights.expires_at), "asked_at": rfc3339(asked_at), "fault": unread or None}


ZERO = Decimal(0)


def numbered_reasons(reasons: Sequence[HoldReason]) -> list[dict[str, Any]]:
    """Return the reasons to hold as ``{number, code, text}``."""
    return [
        {"number": number, "code": str(reason.code), "text": reason.detail} for number, reason in enumerate(reasons, 1)
    ]


@dataclass(frozen=True)
class ResumePreview:
    """What ``robot resume`` would do immediately.

    Attributes:
        mode: the trading mode that the robot would have.
        kept: the orders that stay at the exchange.
        places: the orders that it would place.
        cancels: the orders that it would cancel, by client order id.
        quantity, cost: of what its open cycles hold.
        price: the last price, or None.
        asset: the asset of costs and worths.
    """

    mode: str
    kept: tuple[Order, ...]
    places: tuple[Place, ...]
    cancels: tuple[str, ...]
    quantity: Decimal
    cost: Decimal
    price: Decimal | None
    asset: str | None

    @classmethod
    def of(cls, book: Book, intents: Sequence[Intent], price: Decimal | None) -> ResumePreview:
        """Return the preview of a book.

        Args:
            intents: the strategy's plan at the present price.
            price: the last price.
        """
        return cls(
            mode=book.mode.value,
            kept=tuple(order for order in book.unsettled() if not order.final),
            places=tuple(intent for intent in intents if isinstance(intent, Place)),
            cancels=tuple(intent.client_order_id for intent in intents if isinstance(intent, Cancel)),
            quantity=book.inventory(),
            cost=sum((cycle.held_quantity * cycle.unit_cost for cycle in book.live_cycles()), book.dust_cost),
            price=price,
            asset=book.quote or None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the status's ``resume{…}``."""
        worth_now = self.quantity * self.price if self.price is not None else None
        return {
            "wish": self.mode,
            "keeps": {
                "orders": len(self.kept),
                "buys_worth": self._kept_worth("buy"),
                "sells_worth": self._kept_worth("sell"),
            },
            "places": [
                {
                    "side": place.leg.upper(),
                    "price": f"{place.price:f}",
                    "quantity": f"{place.quantity:f}",
                    "worth": format_money(place.price * place.quantity),
                }
                for place in self.places
            ],
            "places_worth": _worth((place.price, place.quantity) for place in self.places),
            "cancels": list(self.cancels),
            "inventory": {
                "quantity": f"{self.quantity:f}",
                "cost": format_money(self.cost),
                "worth_now": format_money(worth_now) if worth_now is not None else None,
                "unrealised_profit": format_money(worth_now - self.cost) if worth_now is not None else None,
            },
            "asset": self.asset,
        }

    def _kept_worth(self, leg: str) -> str:
        return _worth((order.price, order.quantity - order.executed) for order in self.kept if order.leg == leg)


def _worth(rows: Iterable[tuple[Decimal, Decimal]]) -> str:
    return format_money(sum((price * quantity for price, quantity in rows), ZERO))
