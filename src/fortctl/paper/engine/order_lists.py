"""Order lists: OCO, OTO, OTOCO (rest-api.md, "Order lists"). No I/O, no clock.

The two orders of an OCO pair lock funds once: one order holds them, and passes them on when the other executes.
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

from fortctl.paper.engine import errors, user_events
from fortctl.paper.engine.filters import check_counts
from fortctl.paper.engine.order_checks import check_client_id, check_filters, check_order, check_placing
from fortctl.paper.engine.order_funds import paying_asset, required_funds
from fortctl.paper.engine.order_reports import OrderReports
from fortctl.paper.engine.orders import ZERO, OrderList, PaperOrder
from fortctl.paper.engine.state import ExchangeState

LIMITS = ("LIMIT_MAKER", "LIMIT")


def check_pair(above: PaperOrder, below: PaperOrder, last_price: Any) -> None:
    """Refuse a pair that is not an OCO (errors.md, -1158 to -1199), or whose prices do not enclose the last price."""
    kinds = (above.type, below.type)
    if any(kind in ("LIMIT", "MARKET") for kind in kinds):
        raise errors.BinanceError(-1158, "Order type not supported in OCO.")
    if "LIMIT_MAKER" in kinds and kinds[0] == kinds[1]:
        raise errors.BinanceError(-1168, "At least one OCO order must be contingent.")
    buying = above.side == "BUY"
    if buying and above.type == "LIMIT_MAKER":
        raise errors.BinanceError(-1165, "A limit order in a buy OCO must be below.")
    if not buying and below.type == "LIMIT_MAKER":
        raise errors.BinanceError(-1166, "A limit order in a sell OCO must be above.")
    if buying and below.type.startswith("STOP_LOSS"):
        raise errors.BinanceError(-1196, "A stop loss order in a buy OCO must be above.")
    if not buying and above.type.startswith("STOP_LOSS"):
        raise errors.BinanceError(-1197, "A stop loss order in a sell OCO must be below.")
    if buying and above.type.startswith("TAKE_PROFIT"):
        raise errors.BinanceError(-1198, "A take profit order in a buy OCO must be below.")
    if not buying and below.type.startswith("TAKE_PROFIT"):
        raise errors.BinanceError(-1199, "A take profit order in a sell OCO must be above.")
    for order, upper in ((above, True), (below, False)):
        edge = order.price if order.type == "LIMIT_MAKER" else order.stop_price
        if last_price is not None and edge and (edge <= last_price if upper else edge >= last_price):
            raise errors.WRONG_PRICES


class OrderActions(Protocol):
    """What a list has done with its orders; see :class:`fortctl.paper.engine.order_manager.OrderManager`."""

    def register(self, order: PaperOrder, now: int) -> None: ...
    def start(self, order: PaperOrder, now: int, *, hold: bool = True) -> object: ...
    def end(self, order: PaperOrder, status: str, now: int) -> None: ...
    def flush(self, now: int) -> object: ...


class OrderLists:
    """The order lists of one exchange.

    Args:
        state: the exchange.
        reports: sends the events.
        actions: registers, starts and ends single orders.
    """

    def __init__(self, state: ExchangeState, reports: OrderReports, actions: OrderActions) -> None:
        self._state = state
        self._reports = reports
        self._actions = actions
        # Lists whose working order is filled: their second phase begins at the end of the current command.
        self._due: list[OrderList] = []

    def open_count(self, account: str, symbol: str) -> int:
        """Return how many lists of an account are open."""
        return sum(
            1
            for number in self._state.open_lists
            if (order_list := self._state.lists[number]).account == account and order_list.symbol == symbol
        )

    def place(self, kind: str, client_id: str, orders: list[PaperOrder], now: int) -> OrderList:
        """Check and place a list.

        Args:
            kind: ``OCO`` (above, below), ``OTO`` (working, pending) or ``OTOCO`` (working, above, below).

        Raises:
            BinanceError: one of its orders, or the list, is refused.
        """
        state, actions = self._state, self._actions
        first = orders[0]
        book = state.books[first.symbol]
        counts = {"MAX_NUM_ORDER_LISTS": self.open_count(first.account, first.symbol)}
        check_counts(book.symbol.filters, counts, lists=True)
        names = [order.client_order_id for order in orders if order.client_order_id]
        if len(set(names)) < len(names):
            raise errors.DUPLICATE
        for order in orders:
            check_filters(state, order)
        previous = state.list_by_client_id.get((first.account, client_id))
        if client_id and previous is not None and state.lists[previous].open:
            raise errors.DUPLICATE
        if not book.symbol.trading:
            raise errors.CLOSED
        if not state.accounts[first.account].can_trade:
            raise errors.MAY_NOT_TRADE
        for order in orders:
            check_client_id(state, order)
        if kind == "OCO":
            self._check_oco(orders[0], orders[1])
        else:
            check_order(state, first)
            if kind == "OTOCO":
                check_pair(orders[1], orders[2], None)
        number, state.next_list = state.next_list, state.next_list + 1
        client_id = client_id or hashlib.sha256(f"{first.account}/list/{number}".encode()).hexdigest()[:22]
        for order in orders:
            order.list_id = number
            actions.register(order, now)
        contingency = "OCO" if kind == "OCO" else "OTO"
        ids = [order.id for order in orders]
        order_list = OrderList(number, first.account, first.symbol, client_id, contingency, ids, now)
        state.lists[number] = order_list
        state.list_by_client_id[first.account, client_id] = number
        state.open_lists[number] = None
        self._mark(order_list)
        self._report(order_list, now)
        if kind == "OCO":
            self._start_pair(orders[0], orders[1], now)
        else:
            for order in orders[1:]:
                order.status = "PENDING_NEW"
            actions.start(first, now)
        actions.flush(now)
        return order_list

    def _check_oco(self, above: PaperOrder, below: PaperOrder) -> None:
        book = self._state.books[above.symbol]
        check_pair(above, below, book.last.price if book.last else None)
        asset, amount = max((required_funds(self._state, order) for order in (above, below)), key=lambda need: need[1])
        if self._state.accounts[above.account].free.get(asset, ZERO) < amount:
            raise errors.NO_FUNDS
        for order in (above, below):
            if order.type == "LIMIT_MAKER" and book.would_take(order.side, order.price):
                raise errors.WOULD_TAKE

    def _start_pair(self, above: PaperOrder, below: PaperOrder, now: int) -> None:
        """Start both orders; the one that needs more funds holds them for both."""
        holder = max((above, below), key=lambda order: required_funds(self._state, order)[1])
        for order in sorted((above, below), key=lambda order: order is not holder):
            if order.status in ("NEW", "PENDING_NEW"):
                self._actions.start(order, now, hold=order is holder)

    def orders(self, order_list: OrderList) -> list[PaperOrder]:
        return [self._state.orders[number] for number in order_list.orders]

    def _partner(self, order: PaperOrder) -> PaperOrder | None:
        """Return the other order of an order's OCO pair, or None."""
        order_list = self._state.lists[order.list_id]
        pair = order_list.orders if order_list.contingency == "OCO" else order_list.orders[1:]
        if order.id not in pair or len(pair) != 2:
            return None
        return self._state.orders[pair[1] if pair[0] == order.id else pair[0]]

    def on_leg_executing(self, order: PaperOrder, now: int) -> None:
        """End the partner of an order that triggers or fills, and pass on what the partner held."""
        partner = self._partner(order)
        if partner is None or not partner.open:
            return
        order.held, partner.held = order.held + partner.held, ZERO
        needed = required_funds(self._state, order)[1]
        account, asset = self._state.accounts[order.account], paying_asset(self._state, order)
        if order.held > needed:
            account.lock(asset, needed - order.held)
            order.held = needed
        partner.expiry_reason = "OCO_TRIGGER"
        self._actions.end(partner, "EXPIRED", now)

    def on_leg_ended(self, order: PaperOrder, now: int) -> None:
        """Begin the list's next phase, or end the list, after one of its orders has ended."""
        order_list = self._state.lists[order.list_id]
        if not order_list.open:
            return
        orders = self.orders(order_list)
        if order_list.contingency == "OTO" and order.id == order_list.orders[0]:
            if order.status == "FILLED":
                self._due.append(order_list)
            else:
                self._expire_pending(orders[1:], now)
        partner = self._partner(order)
        if order.status == "EXPIRED_IN_MATCH" and partner is not None and partner.open:
            # The ended order held the funds of both.
            self._actions.end(partner, "EXPIRED", now)
        self._finish_if_ended(order_list, now)

    def _finish_if_ended(self, order_list: OrderList, now: int) -> None:
        if order_list.open and all(
            not member.open and member.status != "PENDING_NEW" for member in self.orders(order_list)
        ):
            self._finish(order_list, now)

    def begin_phases(self, now: int) -> None:
        """Begin the second phases that are due; their fills may make others due."""
        while self._due:
            order_list = self._due.pop(0)
            self._second_phase(order_list, self.orders(order_list)[1:], now)
            self._finish_if_ended(order_list, now)

    def _second_phase(self, order_list: OrderList, pending: list[PaperOrder], now: int) -> None:
        """Start the pending orders after the working order has filled, or reject them."""
        order_list.status_type = "UPDATED"
        self._mark(order_list)
        self._report(order_list, now)
        try:
            if len(pending) == 2:
                self._check_oco(pending[0], pending[1])
            else:
                order = pending[0]
                check_placing(self._state, order)
                asset, amount = required_funds(self._state, order)
                if self._state.accounts[order.account].free.get(asset, ZERO) < amount:
                    raise errors.NO_FUNDS
        except errors.BinanceError as refusal:
            reasons = {
                errors.NO_FUNDS: "INSUFFICIENT_BALANCES",
                errors.WOULD_TAKE: "WOULD_MATCH_IMMEDIATELY",
                errors.WOULD_TRIGGER: "STOP_PRICE_WOULD_TRIGGER_IMMEDIATELY",
                errors.WRONG_PRICES: "OCO_BAD_PRICES",
            }
            for order in pending:
                order.status, order.update_time, order.expiry_reason = "REJECTED", now, "REJECTED"
                self._state.changed.add(("order", str(order.id)))
                self._reports.report(order, "REJECTED", now, reason=reasons.get(refusal, "NONE"))
            return
        if len(pending) == 2:
            self._start_pair(pending[0], pending[1], now)
        else:
            self._actions.start(pending[0], now)

    def _expire_pending(self, pending: list[PaperOrder], now: int) -> None:
        for order in pending:
            if order.status == "PENDING_NEW":
                order.expiry_reason = "OTO_PHASE_ONE_EXPIRED"
                self._actions.end(order, "EXPIRED", now)

    def cancel_rest(self, order: PaperOrder, now: int) -> None:
        """Cancel the other orders of a cancelled order's list, as Binance does."""
        order_list = self._state.lists[order.list_id]
        for member in self.orders(order_list):
            if member.open or member.status == "PENDING_NEW":
                self._actions.end(member, "CANCELED", now)
        if order_list.open:
            self._finish(order_list, now)

    def cancel(self, order_list: OrderList, now: int) -> list[PaperOrder]:
        """Cancel a list; return its orders. Raises :class:`errors.BinanceError`."""
        live = [member for member in self.orders(order_list) if member.open or member.status == "PENDING_NEW"]
        if not order_list.open or not live:
            raise errors.UNKNOWN_ORDER
        for order in live:
            self._actions.end(order, "CANCELED", now)
        self._finish(order_list, now)
        self._actions.flush(now)
        return self.orders(order_list)

    def _finish(self, order_list: OrderList, now: int) -> None:
        order_list.status_type = order_list.order_status = "ALL_DONE"
        self._state.open_lists.pop(order_list.id, None)
        self._mark(order_list)
        self._report(order_list, now)

    def _mark(self, order_list: OrderList) -> None:
        self._state.changed.add(("list", str(order_list.id)))

    def _report(self, order_list: OrderList, now: int) -> None:
        names = [(member.id, member.client_order_id) for member in self.orders(order_list)]
        self._reports.report_list(order_list.account, user_events.list_status(order_list, names, now))
