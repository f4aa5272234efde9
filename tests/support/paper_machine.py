"""A stateful machine over the paper exchange's engine: any commands and trades, and what must always hold."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fortctl.paper.engine import errors
from fortctl.paper.engine.order_funds import paying_asset
from fortctl.paper.engine.orders import PaperOrder
from fortctl.paper.engine.symbols import STP_MODES
from fortctl.paper.engine.trades.table import Trade
from fortctl.paper.server.state_file import COUNTERS, collect, restore
from support.paper_engine import NOW, SYMBOL, ask, bare, first_trade, made

WHO = ("alice", "bob")
ZERO = Decimal(0)
KINDS = ("LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
sides = st.sampled_from(("BUY", "SELL"))
prices = st.integers(9000, 11000).map(lambda number: str(Decimal(number) / 100))
quantities = st.integers(50, 3000).map(lambda number: str(Decimal(number) / 1000))
whos = st.sampled_from(WHO)


class Market(RuleBasedStateMachine):
    """Two accounts, one market."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = made()
        self.trade_id = 1
        # What a state file would hold, and the recorded trades that have happened.
        self.kept: dict[tuple[str, str], str] = {}
        self.seen: list[Trade] = []

    @initialize(model=st.sampled_from(("touch", "through", "queue")), bnb=st.booleans())
    def begin(self, model: str, bnb: bool) -> None:
        self.engine = made(model)
        self.engine.state.accounts["alice"].pays_in_bnb = bnb
        self.seen = [first_trade()]
        self.totals = self._totals()

    def _totals(self) -> dict[str, Decimal]:
        found: dict[str, Decimal] = {}
        for account in self.engine.state.accounts.values():
            for amounts in (account.free, account.locked):
                for asset, amount in amounts.items():
                    found[asset] = found.get(asset, ZERO) + amount
        return found

    def _try(self, who: str, method: str, path: str, **values: Any) -> Any:
        with suppress(errors.BinanceError):
            return ask(self.engine, who, method, path, **values)
        return None

    # -- commands --------------------------------------------------------------------------------------------------

    @rule(
        who=whos,
        side=sides,
        kind=st.sampled_from(KINDS),
        price=prices,
        stop=prices,
        quantity=quantities,
        force=st.sampled_from(("GTC", "GTC", "IOC", "FOK")),
        stp=st.sampled_from(STP_MODES),
        extra=st.sampled_from(("", "", "iceberg", "trailing", "quote")),
        delta=st.integers(10, 900),
    )
    def place(
        self, who: str, side: str, kind: str, price: str, stop: str, quantity: str, force: str, stp: str, extra: str,
        delta: int,
    ) -> None:  # fmt: skip
        values: dict[str, Any] = {"side": side, "type": kind, "quantity": quantity, "selfTradePreventionMode": stp}
        if kind.endswith("LIMIT"):
            values["timeInForce"] = force
        if "LIMIT" in kind:
            values["price"] = price
            if extra == "iceberg":
                values["icebergQty"] = str((Decimal(quantity) / 3).quantize(Decimal("0.001")))
        if kind.startswith(("STOP", "TAKE")):
            values |= {"trailingDelta": delta} if extra == "trailing" else {"stopPrice": stop}
        if kind == "MARKET" and extra == "quote":
            del values["quantity"]
            values["quoteOrderQty"] = str(Decimal(quantity) * 100)
        self._try(who, "POST", "order", **values)

    @rule(who=whos, side=sides, low=st.integers(9000, 9990), high=st.integers(10010, 11000), quantity=quantities)
    def place_oco(self, who: str, side: str, low: int, high: int, quantity: str) -> None:
        above, below = str(Decimal(high) / 100), str(Decimal(low) / 100)
        legs: dict[str, Any] = {"aboveType": "LIMIT_MAKER", "abovePrice": above}
        legs |= {"belowType": "STOP_LOSS", "belowStopPrice": below}
        if side == "BUY":
            legs = {"aboveType": "STOP_LOSS_LIMIT", "aboveStopPrice": above, "abovePrice": above}
            legs |= {"aboveTimeInForce": "GTC", "belowType": "LIMIT_MAKER", "belowPrice": below}
        self._try(who, "POST", "orderList/oco", side=side, quantity=quantity, **legs)

    @rule(who=whos, side=sides, price=prices, quantity=quantities, exit_price=prices, double=st.booleans())
    def place_oto(self, who: str, side: str, price: str, quantity: str, exit_price: str, double: bool) -> None:
        other = "SELL" if side == "BUY" else "BUY"
        values: dict[str, Any] = {"workingType": "LIMIT", "workingSide": side, "workingPrice": price}
        values |= {"workingQuantity": quantity, "workingTimeInForce": "GTC", "pendingSide": other}
        values["pendingQuantity"] = quantity
        if double and other == "SELL":
            values |= {"pendingAboveType": "LIMIT_MAKER", "pendingAbovePrice": "108"}
            values |= {"pendingBelowType": "STOP_LOSS", "pendingBelowStopPrice": "92"}
            self._try(who, "POST", "orderList/otoco", **values)
        else:
            values |= {"pendingType": "LIMIT", "pendingPrice": exit_price, "pendingTimeInForce": "GTC"}
            self._try(who, "POST", "orderList/oto", **values)

    def _open(self) -> list[PaperOrder]:
        return [order for who in WHO for order in self.engine.state.open_orders(who)]

    @precondition(lambda self: self._open())
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        order = data.draw(st.sampled_from(self._open()))
        ask(self.engine, order.account, "DELETE", "order", orderId=order.id)

    @precondition(lambda self: self._open())
    @rule(data=st.data(), price=prices, quantity=quantities, mode=st.sampled_from(("STOP_ON_FAILURE", "ALLOW_FAILURE")))
    def replace(self, data: Any, price: str, quantity: str, mode: str) -> None:
        order = data.draw(st.sampled_from(self._open()))
        values = {"side": order.side, "type": "LIMIT", "timeInForce": "GTC", "price": price, "quantity": quantity}
        more = {"cancelReplaceMode": mode, "cancelOrderId": order.id}
        self._try(order.account, "POST", "order/cancelReplace", **values, **more)

    @precondition(lambda self: self._open())
    @rule(data=st.data(), part=st.integers(1, 99))
    def amend(self, data: Any, part: int) -> None:
        order = data.draw(st.sampled_from(self._open()))
        quantity = (order.quantity * part / 100).quantize(Decimal("0.001"))
        self._try(order.account, "PUT", "order/amend/keepPriority", orderId=order.id, newQty=quantity)

    @rule(who=whos)
    def cancel_all(self, who: str) -> None:
        self._try(who, "DELETE", "openOrders")

    @rule()
    def restart(self) -> None:
        """The server is killed and starts again from what it kept; nothing may be different."""
        self._keep()
        before, after = self.engine, bare(self.engine.state.books[SYMBOL].model)
        assert restore(after.state, [(kind, name, body) for (kind, name), body in self.kept.items()]) == len(self.seen)
        for trade in self.seen:
            after.record_trade(SYMBOL, trade, NOW)
        after.restore_books()
        for name in ("accounts", "keys", "orders", "by_client_id", "lists", "list_by_client_id", "fills"):
            assert getattr(after.state, name) == getattr(before.state, name), name
        for name in ("prevented", "amendments", "open_lists", *COUNTERS):
            assert getattr(after.state, name) == getattr(before.state, name), name
        old, new = before.state.books[SYMBOL], after.state.books[SYMBOL]
        assert (new.resting, new.waiting, new.by_account, new.next_rank) == (
            old.resting,
            old.waiting,
            old.by_account,
            old.next_rank,
        )
        assert (new.bid_sizes, new.ask_sizes, new.update_id) == (old.bid_sizes, old.ask_sizes, old.update_id)
        self.engine = after

    def _keep(self) -> None:
        """Write what has changed, as ``--state`` does."""
        engine = self.engine
        changed, engine.state.changed = engine.state.changed, set()
        batch = collect(engine.state, changed, len(self.seen))
        self.kept |= {(kind, name): body for kind, name, body in batch.rows}
        for key in batch.gone:
            self.kept.pop(key, None)

    @rule(status=st.sampled_from(("TRADING", "TRADING", "HALT")))
    def halt(self, status: str) -> None:
        self.engine.edit_symbol(SYMBOL, {"status": status})

    @rule(price=prices, quantity=quantities, maker=st.booleans())
    def trade(self, price: str, quantity: str, maker: bool) -> None:
        engine, at, size = self.engine, Decimal(price), Decimal(quantity)
        self.trade_id += 1
        before = {key: len(rows) for key, rows in engine.state.fills.items()}
        reached = [
            (order.id, order.price, order.side, order.left)
            for order in engine.state.books[SYMBOL].resting.values()
            if (at < order.price if order.side == "BUY" else at > order.price)
        ]
        recorded = Trade(self.trade_id, at, size, NOW, maker)
        self.seen.append(recorded)
        engine.apply_trade(SYMBOL, recorded, NOW)
        rows = [row for key, found in engine.state.fills.items() for row in found[before.get(key, 0) :]]
        paired = {row["id"] for row in rows if sum(other["id"] == row["id"] for other in rows) > 1}
        filled = sum((Decimal(row["qty"]) for row in rows if row["isMaker"] and row["id"] not in paired), ZERO)
        assert filled <= size, "more was filled than traded"
        self._check_priority(reached, rows)

    def _check_priority(self, reached: list[tuple[int, Decimal, str, Decimal]], rows: list[dict[str, Any]]) -> None:
        """Nothing fills at a price while a better order that the trade reached stands unfilled."""
        touched = {row["orderId"] for row in rows if row["isMaker"]}
        for number, price, side, _left in reached:
            order = self.engine.state.orders[number]
            if not order.open or order.left <= 0:
                continue
            for other, other_price, other_side, _ in reached:
                worse = other_price < price if side == "BUY" else other_price > price
                assert not (other_side == side and worse and other in touched), "a worse price was filled first"

    # -- what always holds -----------------------------------------------------------------------------------------

    @invariant()
    def nothing_appears_or_vanishes(self) -> None:
        if hasattr(self, "totals"):
            assert self._totals() == self.totals

    @invariant()
    def nobody_owes(self) -> None:
        for name in WHO:
            account = self.engine.state.accounts[name]
            assert all(amount >= 0 for amounts in (account.free, account.locked) for amount in amounts.values())

    @invariant()
    def locked_is_what_open_orders_hold(self) -> None:
        for name in WHO:
            held: dict[str, Decimal] = {}
            for order in self.engine.state.orders.values():
                if order.account == name:
                    assert order.open or order.held == 0, "an order that is over still holds"
                    asset = paying_asset(self.engine.state, order)
                    held[asset] = held.get(asset, ZERO) + order.held
            locked = self.engine.state.accounts[name].locked
            assert {a: v for a, v in locked.items() if v} == {a: v for a, v in held.items() if v}

    @invariant()
    def orders_are_where_their_status_says(self) -> None:
        book = self.engine.state.books[SYMBOL]
        for order in self.engine.state.orders.values():
            there = order.id in book.resting or order.id in book.waiting
            assert there is order.open, f"{order.status} and {'on' if there else 'off'} the book"
            assert (ZERO <= order.executed <= order.quantity and order.left >= 0) or order.quote_quantity
            fills = [f for f in self.engine.state.fills.get((order.account, SYMBOL), []) if f["orderId"] == order.id]
            assert sum((Decimal(fill["qty"]) for fill in fills), ZERO) == order.executed
            if order.side == "BUY" and "LIMIT" in order.type:
                assert all(Decimal(fill["price"]) <= order.price for fill in fills)

    @invariant()
    def trade_ids_rise(self) -> None:
        for rows in self.engine.state.fills.values():
            numbers = [row["id"] for row in rows]
            assert numbers == sorted(numbers)

    @invariant()
    def lists_end_with_their_orders(self) -> None:
        for found in self.engine.state.lists.values():
            live = [self.engine.state.orders[number].status for number in found.orders]
            alive = any(status in ("NEW", "PARTIALLY_FILLED", "PENDING_NEW") for status in live)
            assert alive is found.open is (found.id in self.engine.state.open_lists), live
