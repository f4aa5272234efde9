"""The life of single orders: placed, executed, triggered, cancelled, expired. No I/O, no clock.

A command runs to its end before the next one. It marks and reports each change as it happens, and ends with
:meth:`OrderManager.flush`: the second phases of order lists, and one position event for each account.

Sources: rest-api.md, faqs/trailing-stop-faq.md.
"""

from __future__ import annotations

import hashlib
from decimal import ROUND_DOWN, Decimal
from typing import Any

from fortctl.paper.engine import errors
from fortctl.paper.engine.filters import text
from fortctl.paper.engine.order_book import Match
from fortctl.paper.engine.order_checks import check_filters, check_order
from fortctl.paper.engine.order_funds import paying_asset, release_excess, required_funds
from fortctl.paper.engine.order_lists import OrderLists
from fortctl.paper.engine.order_reports import OrderReports
from fortctl.paper.engine.orders import ZERO, PaperOrder
from fortctl.paper.engine.self_trade_prevention import prevent_self_trade
from fortctl.paper.engine.state import FEES, MARKET, ExchangeState, Listeners

_EIGHT = Decimal("0.00000001")
BNB_DISCOUNT = Decimal("0.25")
Row = dict[str, Any]


class OrderManager:
    """The orders of one exchange.

    Args:
        state: the exchange.
        listeners: receive events and first fills.

    Attributes:
        lists: the order lists, which act on single orders through this object.
        reports: sends the events.
    """

    def __init__(self, state: ExchangeState, listeners: Listeners) -> None:
        self._state = state
        self._listeners = listeners
        self.reports = OrderReports(state, listeners)
        self.lists = OrderLists(state, self.reports, self)

    # -- placing -----------------------------------------------------------------------------------------------------

    def place(self, order: PaperOrder, now: int) -> list[Row]:
        """Check and place an order; return its fills (rows of ``myTrades``). Raises :class:`errors.BinanceError`."""
        check_filters(self._state, order)
        check_order(self._state, order)
        self.register(order, now)
        fills = self.start(order, now)
        self.flush(now)
        return fills

    def register(self, order: PaperOrder, now: int) -> None:
        """Give an order its id and, if it has none, a client order id; index it."""
        state = self._state
        order.id, state.next_order = state.next_order, state.next_order + 1
        if not order.client_order_id:
            order.client_order_id = hashlib.sha256(f"{order.account}/{order.id}".encode()).hexdigest()[:22]
        order.time = order.update_time = now
        state.add_order(order)
        state.changed.add(("order", str(order.id)))

    def place_twin(self, order: PaperOrder, now: int) -> None:
        """Place an open order once more under its client order id, if the funds suffice; nothing else is checked."""
        twin = PaperOrder(
            *(0, order.account, order.symbol, order.client_order_id, order.side, order.type, order.time_in_force),
            *(order.price, order.quantity, order.quote_quantity, now),
            stp=order.stp,
        )
        asset, amount = required_funds(self._state, twin)
        if order.open and self._state.accounts[order.account].free.get(asset, ZERO) >= amount:
            self.register(twin, now)
            self.start(twin, now)

    def start(self, order: PaperOrder, now: int, *, hold: bool = True) -> list[Row]:
        """Lock what an order needs (unless another order of its list holds it) and let it work; return its fills."""
        state, book = self._state, self._state.books[order.symbol]
        order.status = "NEW"
        if hold and order.type != "MARKET":
            asset, amount = required_funds(state, order)
            state.accounts[order.account].lock(asset, amount)
            order.held = amount
        if not order.stop:
            order.working_time = now
        self.reports.mark(order)
        self.reports.report(order, "NEW", now)
        if order.stop:
            if order.trailing_delta is not None and not order.stop_price and book.last is not None:
                order.trailing_time, order.extreme = now, book.last.price
            book.add(order)
            return []
        return self._work(order, now)

    def _work(self, order: PaperOrder, now: int) -> list[Row]:
        """Let an order take what it can; then it rests or ends."""
        book = self._state.books[order.symbol]
        if order.time_in_force == "FOK" and not order.takes_any_price and book.takeable(order) < order.quantity:
            order.expiry_reason = "UNFILLED_FOK_ORDER_EXPIRED"
            self.end(order, "EXPIRED", now)
            return []
        fills = self._take(order, now) if order.type != "LIMIT_MAKER" else []
        if not order.open:
            return fills
        if order.takes_any_price or order.time_in_force in ("IOC", "FOK"):
            if order.quote_quantity:
                # The quantity of an order by quote amount is the executed quantity.
                order.quantity = order.executed
            if order.executed > 0 and order.left <= 0:
                self.end(order, "FILLED", now)
            else:
                order.expiry_reason = (
                    "INSUFFICIENT_LIQUIDITY" if order.takes_any_price else "UNFILLED_IOC_QUANTITY_EXPIRED"
                )
                self.end(order, "EXPIRED", now)
        else:
            book.rest(order)
        return fills

    def _take(self, order: PaperOrder, now: int) -> list[Row]:
        fills: list[Row] = []
        for match in self._state.books[order.symbol].take(order):
            if match.against is not None and match.against.account == order.account and order.stp != "NONE":
                prevent_self_trade(self._state, self.reports, self.end, order, match, now)
                continue
            row = self.execute(match, now)
            if row is None:
                break
            fills.append(row)
        return fills

    # -- executions --------------------------------------------------------------------------------------------------

    def execute(self, match: Match, now: int) -> Row | None:
        """Book one execution, on both sides if the other side is a paper order; None if the taker cannot pay it."""
        state, order = self._state, match.order
        if order.takes_any_price:
            gives = match.quantity * (match.price if order.side == "BUY" else 1)
            if state.accounts[order.account].free.get(paying_asset(state, order), ZERO) + order.held < gives:
                return None
        trade_id, state.next_trade = state.next_trade, state.next_trade + 1
        if match.against is not None:
            self._fill(match.against, match.price, match.quantity, trade_id, now, maker=True)
        return self._fill(order, match.price, match.quantity, trade_id, now, maker=match.maker)

    def _fill(
        self, order: PaperOrder, price: Decimal, quantity: Decimal, trade_id: int, now: int, *, maker: bool
    ) -> Row:
        """Book one side of an execution: the amounts, the commission, the events."""
        state = self._state
        if order.list_id != -1 and not order.executed:
            self.lists.on_leg_executing(order, now)
        symbol, account = state.symbols[order.symbol], state.accounts[order.account]
        market = state.accounts[MARKET]
        quote, buying = price * quantity, order.side == "BUY"
        gets, asset = (quantity, symbol.base) if buying else (quote, symbol.quote)
        gives, paid = (quote, symbol.quote) if buying else (quantity, symbol.base)
        from_locked = min(order.held, gives)
        order.held -= from_locked
        account.spend_locked(paid, from_locked)
        account.add(paid, from_locked - gives)
        market.add(paid, gives)
        market.add(asset, -gets)
        account.add(asset, gets)
        commission, in_asset = self._commission(order, gets, asset, symbol.maker if maker else symbol.taker)
        account.add(in_asset, -commission)
        state.accounts[FEES].add(in_asset, commission)
        order.executed += quantity
        order.quote_executed += quote
        if order.iceberg:
            order.shown -= quantity
        order.update_time = account.update_time = now
        first = not order.fills
        order.fills += 1
        order.status = "FILLED" if order.left <= 0 and not order.quote_quantity else "PARTIALLY_FILLED"
        release_excess(state, order)
        if not order.open:
            state.books[order.symbol].remove(order)
        row = {
            "symbol": order.symbol,
            "id": trade_id,
            "orderId": order.id,
            "orderListId": order.list_id,
            "price": text(price),
            "qty": text(quantity),
            "quoteQty": text(quote),
            "commission": text(commission),
            "commissionAsset": in_asset,
            "time": now,
            "isBuyer": buying,
            "isMaker": maker,
            "isBestMatch": True,
        }
        state.fills.setdefault((order.account, order.symbol), []).append(row)
        self.reports.mark(order)
        state.changed |= {("account", FEES), ("account", MARKET)}
        state.changed.add(("fill", f"{order.account}/{order.symbol}/{trade_id}/{order.id}"))
        self.reports.touch(order.account, in_asset)
        self.reports.report(order, "TRADE", now, fill=row)
        if first:
            self._listeners.on_first_fill(order.account, maker)
        if order.status == "FILLED" and order.list_id != -1:
            self.lists.on_leg_ended(order, now)
        return row

    def _commission(self, order: PaperOrder, gets: Decimal, asset: str, rate: Decimal) -> tuple[Decimal, str]:
        """Return a commission and its asset: the received asset, or BNB at a discount if the account pays in BNB."""
        state = self._state
        commission = (gets * rate).quantize(_EIGHT, ROUND_DOWN)
        account = state.accounts[order.account]
        if account.pays_in_bnb and commission:
            worth = state.price_in_bnb(asset)
            if worth is not None:
                in_bnb = (gets * rate * worth * (1 - BNB_DISCOUNT)).quantize(_EIGHT, ROUND_DOWN)
                if account.free.get("BNB", ZERO) >= in_bnb:
                    return in_bnb, "BNB"
        return commission, asset

    # -- triggers ----------------------------------------------------------------------------------------------------

    def trigger(self, symbol: str, now: int) -> None:
        """Trigger the stop orders that the last price reached; their fills do not change the last price."""
        book = self._state.books[symbol]
        if book.last is None:
            return
        for order in book.triggered(book.last.price, now):
            if order.id not in book.waiting:
                continue
            book.remove(order)
            if order.list_id != -1:
                self.lists.on_leg_executing(order, now)
            order.triggered, order.working_time, order.update_time = True, now, now
            self.reports.mark(order)
            self.reports.report(order, "NEW", now)
            self._work(order, now)

    # -- ends --------------------------------------------------------------------------------------------------------

    def cancel(self, order: PaperOrder, now: int, cancel_id: str = "", restrictions: str = "") -> None:
        """Cancel an open order and its list. Raises :class:`errors.BinanceError`."""
        if not order.open and order.status != "PENDING_NEW":
            raise errors.UNKNOWN_ORDER
        allowed = {"ONLY_NEW": "NEW", "ONLY_PARTIALLY_FILLED": "PARTIALLY_FILLED"}.get(restrictions)
        if allowed is not None and order.status != allowed:
            raise errors.RESTRICTED_CANCEL
        self.end(order, "CANCELED", now, cancel_id=cancel_id)
        if order.list_id != -1:
            self.lists.cancel_rest(order, now)
        self.flush(now)

    def end(
        self,
        order: PaperOrder,
        status: str,
        now: int,
        *,
        cancel_id: str = "",
        kind: str = "",
        prevented: Row | None = None,
    ) -> None:
        """End an order: remove it from the book, unlock what it held, report it."""
        state = self._state
        state.books[order.symbol].remove(order)
        if order.held:
            state.accounts[order.account].lock(paying_asset(state, order), -order.held)
            order.held = ZERO
        order.status, order.update_time = status, now
        self.reports.mark(order)
        if status != "FILLED":
            self.reports.report(order, kind or status, now, cancel_id=cancel_id, prevented=prevented)
        if order.list_id != -1 and status != "CANCELED":
            self.lists.on_leg_ended(order, now)

    def flush(self, now: int) -> set[str]:
        """Begin the second phases that are due, then send the positions; return the accounts whose orders changed."""
        self.lists.begin_phases(now)
        return self.reports.send_positions(now) if self.reports.any_touched else set()
