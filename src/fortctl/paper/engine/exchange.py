"""The paper exchange's engine: accounts, keys, the market; commands in, changes and events out. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from fortctl.errors import BadInputError, ConflictError, NotFoundError
from fortctl.paper.engine import user_events
from fortctl.paper.engine.accounts import ZERO, Account, ApiKey
from fortctl.paper.engine.market_data import Recording, Trade
from fortctl.paper.engine.order_book import OrderBook
from fortctl.paper.engine.order_manager import OrderManager
from fortctl.paper.engine.orders import OrderList, PaperOrder
from fortctl.paper.engine.symbols import Symbol
from fortctl.paper.engine.trade_history import TradeHistory

Listener = Callable[[str, str, dict[str, Any]], None]
Rows = list[dict[str, Any]]


class Engine:
    """One paper exchange.

    Args:
        tapes: the markets, by symbol.
        model: the fill model.

    Attributes:
        changed: what ``--state`` has not written yet, as (kind, name).
        emit: hears the user events: account, kind, event.
        key_dropped: hears of each key that is deleted.
        first_fill: hears of each order's first fill: account, whether it was the maker.
    """

    FEES, MARKET = "@fees", "@market"

    def __init__(self, tapes: dict[str, Recording], model: str) -> None:
        self.symbols: dict[str, Symbol] = {name: tape.symbol for name, tape in tapes.items()}
        self.books: dict[str, OrderBook] = {name: OrderBook(tape.symbol, model) for name, tape in tapes.items()}
        self.history: dict[str, TradeHistory] = {name: TradeHistory() for name in tapes}
        self.accounts: dict[str, Account] = {self.FEES: Account(self.FEES, 1), self.MARKET: Account(self.MARKET, 2)}
        self.keys: dict[str, ApiKey] = {}
        self.orders: dict[int, PaperOrder] = {}
        self.orders_of: dict[tuple[str, str], list[PaperOrder]] = {}
        self.by_client_id: dict[tuple[str, str, str], int] = {}
        self.lists: dict[int, OrderList] = {}
        self.open_lists: dict[int, None] = {}
        self.list_by_client_id: dict[tuple[str, str], int] = {}
        self.fills: dict[tuple[str, str], Rows] = {}
        self.prevented: dict[tuple[str, str], Rows] = {}
        self.amendments: dict[int, Rows] = {}
        self.next_order = self.next_list = self.next_execution = 1
        self.next_prevented = 0
        self.next_trade = 1 + max((tape.trades[-1].id for tape in tapes.values()), default=0)
        self.next_uid = 100_000_001
        self.changed: set[tuple[str, str]] = set()
        # What a state file said of the books, until the recorded trades are seen again.
        self.kept_books: dict[str, dict[str, Any]] = {}
        self.emit: Listener = lambda account, kind, event: None
        self.first_fill: Callable[[str, bool], None] = lambda account, maker: None
        self.key_dropped: Callable[[ApiKey], None] = lambda key: None
        self.trading = OrderManager(self)

    # -- accounts and keys -----------------------------------------------------------------------------------------

    def create_account(
        self, name: str, deposits: dict[str, Decimal], now: int, *, master: str | None = None, email: str = ""
    ) -> Account:
        """Make an account. Raises ``ConflictError`` (the name is taken), ``BadInputError`` (its master is a sub-account)."""
        if name in self.accounts:
            raise ConflictError(f"there is a paper account {name} already", hint="choose another name")
        if master is not None and self.account(master).master is not None:
            raise BadInputError(f"{master} is a sub-account itself", hint="name a master account")
        email = email or f"{name.lower()}@paper.example"
        if any(other.email == email for other in self.accounts.values()):
            raise ConflictError(f"there is a paper account with the address {email} already", hint="choose another")
        account = Account(name, self.next_uid, update_time=now, email=email, master=master)
        self.accounts[name] = account
        self.next_uid += 1
        self.changed.add(("account", name))
        for asset, amount in deposits.items():
            self.deposit(name, asset, amount, now)
        return account

    def account(self, name: str) -> Account:
        found = self.accounts.get(name)
        if found is None or name.startswith("@"):
            raise NotFoundError(f"there is no paper account {name}", hint="see 'fortctl paper accounts list'")
        return found

    def deposit(self, name: str, asset: str, amount: Decimal, now: int) -> None:
        account = self.account(name)
        if not amount.is_finite() or account.free.get(asset, ZERO) + amount < 0:
            raise BadInputError("a deposit is a number, and a withdrawal cannot exceed what is free")
        account.add(asset, amount)
        self.accounts[self.MARKET].add(asset, -amount)
        account.update_time = now
        self.changed |= {("account", name), ("account", self.MARKET)}
        self.emit(name, "balance", user_events.balance_update(asset, f"{amount:.8f}", now))
        self.emit(name, "position", user_events.position(account, (asset,), now))

    def add_key(self, key: ApiKey) -> None:
        """Register a key. Raises ``ConflictError`` when its name is taken."""
        self.account(key.account)
        if any(other.name == key.name for other in self.keys.values()):
            raise ConflictError(f"there is a paper key {key.name} already", hint="choose another name, or delete it")
        self.keys[key.api_key] = key
        self.changed.add(("key", key.api_key))

    def key_named(self, name: str) -> ApiKey:
        found = next((key for key in self.keys.values() if key.name == name), None)
        if found is None:
            raise NotFoundError(f"there is no paper key {name}", hint="see 'fortctl paper keys list'")
        return found

    def delete_key(self, name: str) -> ApiKey:
        key = self.key_named(name)
        self.drop_key(key)
        return key

    def add_sub_key(self, key: ApiKey) -> None:
        """Register a key that a master made for its sub-account; its name need only be its own account's."""
        self.keys[key.api_key] = key
        self.changed.add(("key", key.api_key))

    def drop_key(self, key: ApiKey) -> None:
        """Delete a key, and tell who may have used it."""
        del self.keys[key.api_key]
        self.changed.add(("key", key.api_key))
        self.key_dropped(key)

    def edit_symbol(self, name: str, changes: dict[str, Any]) -> Symbol:
        """Change a symbol's status, commissions, flags or filters. Raises ``NotFoundError``, ``BadInputError``."""
        symbol = self.symbols.get(name)
        if symbol is None:
            raise NotFoundError(f"there is no symbol {name}", hint="see 'fortctl paper market status'")
        symbol.edit(changes)
        self.changed.add(("symbol", name))
        return symbol

    # -- orders ----------------------------------------------------------------------------------------------------

    def remember(self, order: PaperOrder) -> None:
        """Take an order into the books of all orders."""
        self.orders[order.id] = order
        self.orders_of.setdefault((order.account, order.symbol), []).append(order)
        self.by_client_id[order.account, order.symbol, order.client_order_id] = order.id

    def find(self, account: str, symbol: str, order_id: int | None, client_id: str | None) -> PaperOrder | None:
        if order_id is None and client_id is not None:
            order_id = self.by_client_id.get((account, symbol, client_id))
        order = self.orders.get(order_id) if order_id is not None else None
        if order is None or order.account != account or order.symbol != symbol:
            return None
        return order

    def open_orders(self, account: str, symbol: str | None = None) -> list[PaperOrder]:
        """Return an account's open orders, oldest first."""
        books = [self.books[symbol]] if symbol else list(self.books.values())
        found = [order for book in books for order in book.of.get(account, {}).values()]
        for number in self.open_lists:
            listed = self.lists[number]
            if listed.account == account and symbol in (None, listed.symbol):
                found += [order for i in listed.orders if (order := self.orders[i]).status == "PENDING_NEW"]
        return sorted(found, key=lambda order: order.id)

    # -- the market ------------------------------------------------------------------------------------------------

    def trade(self, symbol: str, trade: Trade, now: int) -> set[str]:
        """Let one recorded trade happen; return the accounts whose orders it changed."""
        book, trading = self.books[symbol], self.trading
        if book.resting:
            for match in book.match(trade):
                trading.execute(match, now)
        book.see(trade)
        self.history[symbol].add(trade, now)
        if book.waiting:
            trading.trigger(symbol, now)
        if book.moved:
            self.changed |= {("order", str(number)) for number in book.moved}
            book.moved.clear()
        return trading.flush(now)

    def see(self, symbol: str, trade: Trade, now: int) -> None:
        """Take a trade in that has happened before, touching no order (after a restart)."""
        self.books[symbol].see(trade)
        self.history[symbol].add(trade, now)

    def resume_books(self) -> None:
        """End a restart: the recorded trades were seen again, the books stand as they stood."""
        kept, self.kept_books = self.kept_books, {}
        for name, body in kept.items():
            if name in self.books:
                self.books[name].take_json(body)

    def price(self, symbol: str) -> Decimal:
        last = self.books[symbol].last
        return last.price if last else ZERO

    def in_bnb(self, asset: str) -> Decimal | None:
        """Return how many BNB one of an asset is worth here, by way of what it is quoted in too; None where unknown."""
        direct = self._quoted_in_bnb(asset)
        if direct is not None:
            return direct
        for symbol in self.symbols.values():
            price = self.price(symbol.name)
            if price and symbol.base == asset and (worth := self._quoted_in_bnb(symbol.quote)) is not None:
                return price * worth
        return None

    def _quoted_in_bnb(self, asset: str) -> Decimal | None:
        if asset == "BNB":
            return Decimal(1)
        for symbol in self.symbols.values():
            price = self.price(symbol.name)
            if price and (symbol.base, symbol.quote) == ("BNB", asset):
                return 1 / price
            if price and (symbol.base, symbol.quote) == (asset, "BNB"):
                return price
        return None
