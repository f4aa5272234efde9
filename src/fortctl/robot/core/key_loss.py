"""The loss of the robot's key: since when, why, and what the market did to its orders meanwhile. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from fortctl.model import KeyVerdict, PriceRange
from fortctl.robot.core.book import Book
from fortctl.robot.core.cycle import Order
from fortctl.robot.core.filters import format_money
from fortctl.robot.core.reconciliation import HUNDRED, LastContact, ResumeLimits
from fortctl.timestamps import rfc3339

ZERO, ONE = Decimal(0), Decimal(1)
TRADING = "spot_trading"


@dataclass(frozen=True)
class Cause:
    """Why a key counts as lost.

    Attributes:
        reason: a name of :class:`fortctl.keys.rejection.Rejection`, or ``trading_right_removed``,
            ``trading_disabled``.
        certainty: ``certain``, ``likely`` or ``possible``.
        why: the evidence, as text.
        code: Binance's error code, where there was one.
    """

    reason: str
    certainty: str
    why: str
    code: int | None = None


class Refusal(Protocol):
    """What the exchange refused a call with (:class:`fortctl.ports.ExchangeError`)."""

    @property
    def code(self) -> int | None: ...


def cause_of(verdict: KeyVerdict, probe: Refusal | None, fault: Refusal) -> Cause | None:
    """Return why a key counts as lost, or None where the exchange accepts it after all.

    Args:
        verdict: the answers about the account and the key's own rights.
        probe: the refusal of an order without effect; None where it was accepted, or could not be tried.
        fault: the refusal that made the robot check the key.
    """
    if not verdict.accepted:
        return Cause(verdict.reason, verdict.certainty, verdict.why or "", verdict.exchange_code or fault.code)
    if verdict.policy is not None and TRADING in verdict.policy.missing:
        why = "the key's own page says that it may not trade spot (any more)"
        return Cause("trading_right_removed", "certain", why, fault.code)
    if not verdict.can_trade:
        return Cause("trading_disabled", "certain", "the account says that it may not trade", fault.code)
    if probe is not None:
        why = "the exchange lets the key read, and refuses an order without effect"
        return Cause("trading_right_removed", "likely", why, probe.code)
    return None


@dataclass(frozen=True)
class ProbableFill:
    """What an order of the robot changes if the rest of it has filled.

    Attributes:
        quantity: the rest.
        base, quote: the assets' names.
        quote_amount: what it brings (a sell) or costs (a buy, negative).
        profit: of a sell; None for a buy.
    """

    order: Order
    quantity: Decimal
    base: str
    quote: str
    quote_amount: Decimal
    profit: Decimal | None

    def to_json(self) -> dict[str, Any]:
        base_amount = self.quantity if self.order.leg == "buy" else -self.quantity
        return {
            "client_order_id": self.order.client_order_id,
            "side": self.order.side.value,
            "price": f"{self.order.price:f}",
            "quantity": f"{self.quantity:f}",
            self.base: f"{base_amount:f}",
            self.quote: format_money(self.quote_amount),
            "profit": format_money(self.profit) if self.profit is not None else None,
        }


@dataclass(frozen=True)
class ProbableEffect:
    """What all probable fills change together, less commission; money is in ``asset``."""

    base: Decimal
    quote: Decimal
    worth_now: Decimal | None
    profit_of_sells: Decimal
    asset: str | None
    waiting_to_be_sold: Decimal

    def to_json(self) -> dict[str, Any]:
        return {
            "base": format_money(self.base),
            "quote": format_money(self.quote),
            "worth_now": format_money(self.worth_now) if self.worth_now is not None else None,
            "profit_of_sells": format_money(self.profit_of_sells),
            "asset": self.asset,
            "waiting_to_be_sold": format_money(self.waiting_to_be_sold),
        }


@dataclass(frozen=True)
class LongBreak:
    """Whether and when a loss counts as long; the robot then holds although it gets a new key.

    Attributes:
        begins: from when it counts as long (ms).
        gap_ms, drift: how long it lasts, and by how much the price has moved (per cent).
        limits: of both.
    """

    begins: int
    gap_ms: int
    drift: Decimal
    limits: ResumeLimits

    def to_json(self) -> dict[str, Any]:
        return {
            "is": self.gap_ms > self.limits.max_gap_ms or self.drift > self.limits.max_drift,
            "from": rfc3339(self.begins),
            "gap_s": self.gap_ms // 1000,
            "max_gap_s": self.limits.max_gap_ms // 1000,
            "drift_percent": f"{self.drift:.3f}",
            "max_drift_percent": f"{self.limits.max_drift:f}",
        }


@dataclass(frozen=True)
class MarketSinceLoss:
    """What the market did to the robot's orders since its key was lost; known only to a robot that runs."""

    price: Decimal | None
    fills: tuple[ProbableFill, ...]
    effect: ProbableEffect
    long: LongBreak


@dataclass(frozen=True)
class KeyLossReport:
    """The status's ``key_loss{…}``.

    Attributes:
        since: when the loss was confirmed first (ms).
        cause: why.
        price: the last price then.
        market: what happened since; None where nobody watched.
    """

    since: int
    cause: Cause
    price: Decimal | None
    market: MarketSinceLoss | None = None

    def to_json(self) -> dict[str, Any]:
        known = {
            "since": rfc3339(self.since),
            "code": self.cause.code,
            "reason": self.cause.reason,
            "certainty": self.cause.certainty,
            "why": self.cause.why,
            "price_then": f"{self.price:f}" if self.price is not None else None,
        }
        if self.market is None:
            return known
        return {
            **known,
            "price_now": f"{self.market.price:f}" if self.market.price is not None else None,
            "drift_percent": _percent(self.market.price, self.price),
            "probably_filled": [fill.order.client_order_id for fill in self.market.fills],
            "fills": [fill.to_json() for fill in self.market.fills],
            "would_mean": self.market.effect.to_json(),
            "long": self.market.long.to_json(),
        }


class KeyLoss:
    """One loss of the key.

    Args:
        since: when it was confirmed first (exchange's clock, ms).
        price: the last price then.
        cause: why, as far as it is known.
    """

    def __init__(self, since: int, price: Decimal | None, cause: Cause) -> None:
        self.since = since
        self.price = price
        self.cause = cause
        self.lowest = self.highest = price

    def follow_price(self, price: Decimal) -> None:
        """Note a price of the market."""
        self.lowest = price if self.lowest is None else min(self.lowest, price)
        self.highest = price if self.highest is None else max(self.highest, price)
        if self.price is None:
            self.price = price

    def include_range(self, prices: PriceRange) -> None:
        """Include where the market was while this process did not watch it."""
        for price in (prices.lowest, prices.highest):
            self.lowest = price if self.lowest is None else min(self.lowest, price)
            self.highest = price if self.highest is None else max(self.highest, price)

    def describe(
        self,
        price: Decimal | None,
        book: Book,
        *,
        now: int,
        rate: Decimal,
        last_contact: LastContact | None,
        limits: ResumeLimits,
    ) -> KeyLossReport:
        """Return what the status reports of the loss.

        Args:
            price: the last price now.
            now: the exchange's time (ms).
            rate: the commission rate (a fraction).
            last_contact: the last accepted signed answer.
        """
        through = [order for order in book.unsettled() if not order.final and self._traded_through(order)]
        market = MarketSinceLoss(
            price=price,
            fills=tuple(_fill(order, book, rate) for order in through),
            effect=_effect(through, book, rate, price),
            long=_long(price, now, last_contact or LastContact(self.since, self.price or ONE), limits),
        )
        return KeyLossReport(self.since, self.cause, self.price, market)

    def _traded_through(self, order: Order) -> bool:
        if self.lowest is None or self.highest is None:
            return False
        return self.lowest < order.price if order.leg == "buy" else self.highest > order.price


def _percent(now: Decimal | None, then: Decimal | None) -> str | None:
    return f"{(now - then) / then * HUNDRED:.3f}" if now is not None and then else None


def _left(order: Order) -> Decimal:
    return order.quantity - order.executed


def _fill(order: Order, book: Book, rate: Decimal) -> ProbableFill:
    left, sign = _left(order), 1 if order.leg == "buy" else -1
    return ProbableFill(
        order=order,
        quantity=left,
        base=book.base or "base",
        quote=book.quote or "quote",
        quote_amount=-sign * left * order.price,
        profit=_profit(order, book, rate) if order.leg == "sell" else None,
    )


def _profit(order: Order, book: Book, rate: Decimal) -> Decimal:
    left = _left(order)
    return left * order.price * (ONE - rate) - left * book.cycles[order.cycle].unit_cost


def _effect(orders: list[Order], book: Book, rate: Decimal, price: Decimal | None) -> ProbableEffect:
    buys, sells = ([order for order in orders if order.leg == leg] for leg in ("buy", "sell"))
    base = sum((_left(order) * (ONE - rate) for order in buys), ZERO) - sum((_left(o) for o in sells), ZERO)
    quote = sum((_left(order) * order.price * (ONE - rate) for order in sells), ZERO)
    quote -= sum((_left(order) * order.price for order in buys), ZERO)
    return ProbableEffect(
        base=base,
        quote=quote,
        worth_now=base * price + quote if price is not None else None,
        profit_of_sells=sum((_profit(order, book, rate) for order in sells), ZERO),
        asset=book.quote or None,
        waiting_to_be_sold=book.inventory() + base,
    )


def _long(price: Decimal | None, now: int, contact: LastContact, limits: ResumeLimits) -> LongBreak:
    drift = abs(price - contact.price) / contact.price * HUNDRED if price is not None else ZERO
    return LongBreak(contact.at + limits.max_gap_ms, max(0, now - contact.at), drift, limits)
