"""The paper exchange's engine: accounts, keys, orders; commands in, changes and events out. No I/O, no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from typing import Any

from fortctl.errors import BadInput, Conflict, NotFound
from fortctl.paper import refusals
from fortctl.paper.accounts import Account, ApiKey
from fortctl.paper.market import Tape, Trade
from fortctl.paper.matching import Book, Match, PaperOrder
from fortctl.paper.symbols import Symbol

ZERO = Decimal(0)
FEES, MARKET = "@fees", "@market"
_EIGHT = Decimal("0.00000001")
MAX_TRADES_KEPT = 5_000

Listener = Callable[[str, str, dict[str, Any]], None]


class Engine:
    """One paper exchange.

    Args:
        tapes: the markets, by symbol.
        model: the fill model.
    """

    def __init__(self, tapes: dict[str, Tape], model: str) -> None:
        self.symbols: dict[str, Symbol] = {name: tape.symbol for name, tape in tapes.items()}
        self.books: dict[str, Book] = {name: Book(tape.symbol, model) for name, tape in tapes.items()}
        self.accounts: dict[str, Account] = {FEES: Account(FEES, 1), MARKET: Account(MARKET, 2)}
        self.keys: dict[str, ApiKey] = {}
        self.orders: dict[int, PaperOrder] = {}
        self.by_client_id: dict[tuple[str, str, str], int] = {}
        self.fills: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.public: dict[str, list[Trade]] = {name: [] for name in tapes}
        self.next_order = 1
        self.next_trade = 1 + max((tape.trades[-1].id for tape in tapes.values()), default=0)
        self.next_uid = 100_000_001
        self.changed: set[tuple[str, str]] = set()
        self.emit: Listener = lambda account, kind, event: None

    # -- accounts and keys -----------------------------------------------------------------------------------------

    def create_account(self, name: str, deposits: dict[str, Decimal], now: int) -> Account:
        """Make an account. Raises ``Conflict`` when the name is taken."""
        if name in self.accounts:
            raise Conflict(f"there is a paper account {name} already", hint="choose another name")
        account = self.accounts[name] = Account(name, self.next_uid, update_time=now)
        self.next_uid += 1
        self.changed.add(("account", name))
        for asset, amount in deposits.items():
            self.deposit(name, asset, amount, now)
        return account

    def account(self, name: str) -> Account:
        found = self.accounts.get(name)
        if found is None or name.startswith("@"):
            raise NotFound(f"there is no paper account {name}", hint="see 'fortctl paper accounts list'")
        return found

    def deposit(self, name: str, asset: str, amount: Decimal, now: int) -> None:
        account = self.account(name)
        if not amount.is_finite() or account.free.get(asset, ZERO) + amount < 0:
            raise BadInput("a deposit is a number, and a withdrawal cannot exceed what is free")
        account.add(asset, amount)
        self.accounts[MARKET].add(asset, -amount)
        account.update_time = now
        self.changed |= {("account", name), ("account", MARKET)}
        event = {"e": "balanceUpdate", "E": now, "a": asset, "d": f"{amount:.8f}", "T": now}
        self.emit(name, "balance", event)
        self._emit_position(account, (asset,), now)

    def add_key(self, key: ApiKey) -> None:
        """Register a key. Raises ``Conflict`` when its name is taken."""
        self.account(key.account)
        if any(other.name == key.name for other in self.keys.values()):
            raise Conflict(f"there is a paper key {key.name} already", hint="choose another name, or delete it")
        self.keys[key.api_key] = key
        self.changed.add(("key", key.api_key))

    def key_named(self, name: str) -> ApiKey:
        found = next((key for key in self.keys.values() if key.name == name), None)
        if found is None:
            raise NotFound(f"there is no paper key {name}", hint="see 'fortctl paper keys list'")
        return found

    def delete_key(self, name: str) -> ApiKey:
        key = self.key_named(name)
        del self.keys[key.api_key]
        self.changed.add(("key", key.api_key))
        return key

    # -- orders ----------------------------------------------------------------------------------------------------

    def check_order(self, account: str, order: PaperOrder) -> None:
        """Refuse what Binance would refuse, in its order: filters, duplicate id, funds."""
        symbol, book = self.symbols[order.symbol], self.books[order.symbol]
        reference = book.last.price if book.last else order.price
        mine = [one for one in book.resting.values() if one.account == account]
        quantity = order.quantity
        if order.quote_quantity:
            quantity = order.quote_quantity / reference // symbol.step * symbol.step
        price = None if order.type == "MARKET" else order.price
        symbol.check(price=price, quantity=quantity, reference=reference, open_orders=len(mine))
        previous = self.by_client_id.get((account, order.symbol, order.client_order_id))
        if previous is not None and self.orders[previous].open:
            raise refusals.DUPLICATE
        if order.type == "LIMIT_MAKER" and book.would_take(order.side, order.price):
            raise refusals.WOULD_TAKE
        asset, amount = self._needs(order, reference)
        if self.accounts[account].free.get(asset, ZERO) < amount:
            raise refusals.NO_FUNDS

    def _needs(self, order: PaperOrder, reference: Decimal) -> tuple[str, Decimal]:
        symbol = self.symbols[order.symbol]
        if order.side == "SELL":
            return symbol.base, order.quantity
        if order.type == "MARKET":
            return symbol.quote, order.quote_quantity or self.books[order.symbol].cost(order.quantity)
        return symbol.quote, order.quantity * order.price

    def new_order(self, account: str, order: PaperOrder, now: int) -> list[dict[str, Any]]:
        """Take an order in; return its fills. Raises :class:`refusals.Refusal`."""
        self.check_order(account, order)
        book = self.books[order.symbol]
        order.id, self.next_order = self.next_order, self.next_order + 1
        if not order.client_order_id:
            digest = hashlib.sha256(f"{account}/{order.id}".encode()).hexdigest()
            order.client_order_id = digest[:22]
        order.time = order.update_time = now
        self.orders[order.id] = order
        self.by_client_id[account, order.symbol, order.client_order_id] = order.id
        self._lock(order)
        self.report(order, "NEW", now)
        if order.time_in_force == "FOK" and book.takeable(order) < order.quantity:
            self._end(order, "EXPIRED", now)
            return []
        fills = [self._fill(match, now) for match in book.take(order)] if order.type != "LIMIT_MAKER" else []
        if order.open and (order.type == "MARKET" or order.time_in_force in ("IOC", "FOK")):
            self._expire_rest(order, now)
        elif order.open:
            book.rest(order)
        self._emit_position(self.accounts[account], self._assets(order), now)
        return fills

    def _expire_rest(self, order: PaperOrder, now: int) -> None:
        """End what did not match at once of a MARKET, IOC or FOK order."""
        if order.quote_quantity:
            # The quantity of an order by quote amount is what it bought or sold.
            order.quantity = order.executed
        done = order.executed > 0 and order.left <= 0
        self._end(order, "FILLED" if done else "EXPIRED", now)

    def cancel(self, account: str, order: PaperOrder, now: int, cancel_id: str = "") -> None:
        """Cancel an open order. Raises :class:`refusals.Refusal`."""
        if order.account != account or not order.open:
            raise refusals.UNKNOWN_ORDER
        self._end(order, "CANCELED", now, cancel_id)
        self._emit_position(self.accounts[account], self._assets(order), now)

    def find(self, account: str, symbol: str, order_id: int | None, client_id: str | None) -> PaperOrder | None:
        if order_id is None and client_id is not None:
            order_id = self.by_client_id.get((account, symbol, client_id))
        order = self.orders.get(order_id) if order_id is not None else None
        if order is None or order.account != account or order.symbol != symbol:
            return None
        return order

    def trade(self, symbol: str, trade: Trade, now: int) -> set[str]:
        """Let one recorded trade happen; return the accounts whose orders it changed."""
        book = self.books[symbol]
        touched: dict[str, PaperOrder] = {}
        if book.resting:
            for match in list(book.match(trade)):
                self._fill(match, now)
                touched[match.order.account] = match.order
        for name, order in touched.items():
            self._emit_position(self.accounts[name], self._assets(order), now)
        book.see(trade)
        shown = self.public[symbol]
        shown.append(Trade(trade.id, trade.price, trade.quantity, now, trade.buyer_is_maker))
        if len(shown) > 2 * MAX_TRADES_KEPT:
            del shown[:MAX_TRADES_KEPT]
        return set(touched)

    # -- money -----------------------------------------------------------------------------------------------------

    def _assets(self, order: PaperOrder) -> tuple[str, str]:
        symbol = self.symbols[order.symbol]
        return symbol.base, symbol.quote

    def _lock(self, order: PaperOrder) -> None:
        if order.type == "MARKET":
            return
        asset, amount = self._needs(order, order.price)
        self.accounts[order.account].lock(asset, amount)
        self.changed |= {("order", str(order.id)), ("account", order.account)}

    def _fill(self, match: Match, now: int) -> dict[str, Any]:
        """Book one execution: what changes hands, the commission, the events."""
        order, price, quantity = match.order, match.price, match.quantity
        symbol, account = self.symbols[order.symbol], self.accounts[order.account]
        market, fees = self.accounts[MARKET], self.accounts[FEES]
        quote = price * quantity
        rate = symbol.maker if match.maker else symbol.taker
        buying = order.side == "BUY"
        gets, asset = (quantity, symbol.base) if buying else (quote, symbol.quote)
        gives, paid = (quote, symbol.quote) if buying else (quantity, symbol.base)
        commission = (gets * rate).quantize(_EIGHT, ROUND_DOWN)
        if order.type == "MARKET":
            account.add(paid, -gives)
        else:
            account.spend_locked(paid, gives)
            if buying and price < order.price:
                # What was locked at the limit and not needed goes back.
                back = (order.price - price) * quantity
                account.spend_locked(paid, back)
                account.add(paid, back)
        market.add(paid, gives)
        market.add(asset, -gets)
        account.add(asset, gets - commission)
        fees.add(asset, commission)
        order.executed += quantity
        order.quote_executed += quote
        order.update_time = account.update_time = now
        order.status = "FILLED" if order.left <= 0 and not order.quote_quantity else "PARTIALLY_FILLED"
        if not order.open:
            self.books[order.symbol].resting.pop(order.id, None)
        trade_id, self.next_trade = self.next_trade, self.next_trade + 1
        row = {
            "symbol": order.symbol,
            "id": trade_id,
            "orderId": order.id,
            "orderListId": -1,
            "price": f"{price:.8f}",
            "qty": f"{quantity:.8f}",
            "quoteQty": f"{quote:.8f}",
            "commission": f"{commission:.8f}",
            "commissionAsset": asset,
            "time": now,
            "isBuyer": buying,
            "isMaker": match.maker,
            "isBestMatch": True,
        }
        self.fills.setdefault((order.account, order.symbol), []).append(row)
        self.changed |= {("order", str(order.id)), ("account", order.account), ("account", FEES), ("account", MARKET)}
        self.changed.add(("fill", f"{order.account}/{order.symbol}/{trade_id}"))
        self.report(order, "TRADE", now, row)
        return row

    def _end(self, order: PaperOrder, status: str, now: int, cancel_id: str = "") -> None:
        """Take an order off the book and free what it locked."""
        self.books[order.symbol].resting.pop(order.id, None)
        if order.type != "MARKET":
            asset = self._assets(order)[0 if order.side == "SELL" else 1]
            amount = order.left if order.side == "SELL" else order.left * order.price
            self.accounts[order.account].lock(asset, -amount)
        order.status, order.update_time = status, now
        self.changed |= {("order", str(order.id)), ("account", order.account)}
        if status != "FILLED":
            self.report(order, status, now, cancel_id=cancel_id)

    # -- events (user-data-stream.md) ------------------------------------------------------------------------------

    def report(
        self, order: PaperOrder, kind: str, now: int, fill: dict[str, Any] | None = None, cancel_id: str = ""
    ) -> None:
        """Emit an ``executionReport``."""
        event = {
            "e": "executionReport",
            "E": now,
            "s": order.symbol,
            "c": cancel_id or order.client_order_id,
            "S": order.side,
            "o": order.type,
            "f": order.time_in_force,
            "q": f"{order.quantity:.8f}",
            "p": f"{order.price:.8f}",
            "P": "0.00000000",
            "F": "0.00000000",
            "g": -1,
            "C": order.client_order_id if cancel_id else "",
            "x": kind,
            "X": order.status,
            "r": "NONE",
            "i": order.id,
            "l": fill["qty"] if fill else "0.00000000",
            "z": f"{order.executed:.8f}",
            "L": fill["price"] if fill else "0.00000000",
            "n": fill["commission"] if fill else "0",
            "N": fill["commissionAsset"] if fill else None,
            "T": now,
            "t": fill["id"] if fill else -1,
            "I": self.next_trade * 2,
            "w": order.open and order.type != "MARKET",
            "m": bool(fill and fill["isMaker"]),
            "M": False,
            "O": order.time,
            "Z": f"{order.quote_executed:.8f}",
            "Y": fill["quoteQty"] if fill else "0.00000000",
            "Q": f"{order.quote_quantity:.8f}",
            "W": order.time,
            "V": order.stp,
        }
        self.emit(order.account, "order", event)

    def _emit_position(self, account: Account, assets: tuple[str, ...], now: int) -> None:
        event = {
            "e": "outboundAccountPosition",
            "E": now,
            "u": account.update_time,
            "B": [
                {
                    "a": asset,
                    "f": f"{account.free.get(asset, ZERO):.8f}",
                    "l": f"{account.locked.get(asset, ZERO):.8f}",
                }
                for asset in assets
            ],
        }
        self.emit(account.name, "position", event)
