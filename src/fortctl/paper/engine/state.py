"""What one paper exchange knows: markets, accounts, keys, orders, lists, fills. Data and look-ups, no rules; no I/O.

Everything that changes an exchange (:mod:`.exchange`, :mod:`.order_manager`, :mod:`.order_lists`, …) receives this
object and adds to :attr:`ExchangeState.changed` what it changed; everything that reads one needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fortctl.errors import NotFoundError
from fortctl.paper.engine.accounts import ZERO, Account, ApiKey
from fortctl.paper.engine.market_data import Recording
from fortctl.paper.engine.order_book import OrderBook
from fortctl.paper.engine.orders import OrderList, PaperOrder
from fortctl.paper.engine.symbols import Symbol
from fortctl.paper.engine.trades.history import TradeHistory

# The accounts that receive commissions, and that the recorded market trades with.
FEES, MARKET = "@fees", "@market"
Row = dict[str, Any]


@dataclass
class Listeners:
    """Callbacks of one exchange; by default nobody listens.

    Attributes:
        on_user_event: called with account, kind (``order``, ``list``, ``position``, ``balance``) and Binance's event.
        on_first_fill: called at each order's first fill with its account and whether it was the maker.
        on_key_deleted: called with each key that was deleted.
    """

    on_user_event: Callable[[str, str, Row], None] = lambda account, kind, event: None
    on_first_fill: Callable[[str, bool], None] = lambda account, maker: None
    on_key_deleted: Callable[[ApiKey], None] = lambda key: None


class ExchangeState:
    """The state of one paper exchange.

    Args:
        recordings: the recorded market of each symbol.
        fill_model: one of :data:`fortctl.paper.engine.order_book.FILL_MODELS`.

    Attributes:
        history: what has traded, by symbol.
        orders: every order by its id, also those that have ended.
        orders_by_symbol: the same by (account, symbol), oldest first.
        by_client_id: (account, symbol, client order id) → order id.
        open_lists: the ids of order lists that have not ended.
        fills: rows of ``myTrades`` by (account, symbol).
        prevented: rows of ``myPreventedMatches`` by (account, symbol).
        amendments: rows of ``order/amendments`` by order id.
        changed: (kind, name) of what a state file has not stored yet.
        saved_books: what a state file said of the order books, until the recorded trades have been read again.
    """

    def __init__(self, recordings: dict[str, Recording], fill_model: str) -> None:
        self.symbols: dict[str, Symbol] = {name: tape.symbol for name, tape in recordings.items()}
        self.books: dict[str, OrderBook] = {
            name: OrderBook(tape.symbol, fill_model) for name, tape in recordings.items()
        }
        self.history: dict[str, TradeHistory] = {name: TradeHistory() for name in recordings}
        self.accounts: dict[str, Account] = {FEES: Account(FEES, 1), MARKET: Account(MARKET, 2)}
        self.keys: dict[str, ApiKey] = {}
        self.orders: dict[int, PaperOrder] = {}
        self.orders_by_symbol: dict[tuple[str, str], list[PaperOrder]] = {}
        self.by_client_id: dict[tuple[str, str, str], int] = {}
        self.lists: dict[int, OrderList] = {}
        self.open_lists: dict[int, None] = {}
        self.list_by_client_id: dict[tuple[str, str], int] = {}
        self.fills: dict[tuple[str, str], list[Row]] = {}
        self.prevented: dict[tuple[str, str], list[Row]] = {}
        self.amendments: dict[int, list[Row]] = {}
        self.next_order = self.next_list = self.next_execution = 1
        self.next_prevented = 0
        self.next_trade = 1 + max((tape.trades[-1].id for tape in recordings.values()), default=0)
        self.next_uid = 100_000_001
        self.changed: set[tuple[str, str]] = set()
        self.saved_books: dict[str, Row] = {}

    # -- accounts and keys -------------------------------------------------------------------------------------------

    def account(self, name: str) -> Account:
        """Return a client's account. Raises ``NotFoundError``."""
        account = self.accounts.get(name)
        if account is None or name in (FEES, MARKET):
            raise NotFoundError(f"there is no paper account {name}", hint="see 'fortctl paper accounts list'")
        return account

    def key_named(self, name: str) -> ApiKey:
        """Return the key of a name. Raises ``NotFoundError``."""
        key = next((key for key in self.keys.values() if key.name == name), None)
        if key is None:
            raise NotFoundError(f"there is no paper key {name}", hint="see 'fortctl paper keys list'")
        return key

    # -- orders ------------------------------------------------------------------------------------------------------

    def add_order(self, order: PaperOrder) -> None:
        """Index an order by its id, its symbol and its client order id."""
        self.orders[order.id] = order
        self.orders_by_symbol.setdefault((order.account, order.symbol), []).append(order)
        self.by_client_id[order.account, order.symbol, order.client_order_id] = order.id

    def find_order(self, account: str, symbol: str, order_id: int | None, client_id: str | None) -> PaperOrder | None:
        """Return an account's order by its id, or else by its client order id; None if there is none."""
        if order_id is None and client_id is not None:
            order_id = self.by_client_id.get((account, symbol, client_id))
        order = self.orders.get(order_id) if order_id is not None else None
        if order is None or order.account != account or order.symbol != symbol:
            return None
        return order

    def open_orders(self, account: str, symbol: str | None = None) -> list[PaperOrder]:
        """Return an account's open orders, oldest first, with the pending orders of its lists."""
        books = [self.books[symbol]] if symbol else list(self.books.values())
        orders = [order for book in books for order in book.by_account.get(account, {}).values()]
        for number in self.open_lists:
            order_list = self.lists[number]
            if order_list.account == account and symbol in (None, order_list.symbol):
                orders += [order for i in order_list.orders if (order := self.orders[i]).status == "PENDING_NEW"]
        return sorted(orders, key=lambda order: order.id)

    # -- prices ------------------------------------------------------------------------------------------------------

    def last_price(self, symbol: str) -> Decimal:
        """Return a symbol's last price, or 0 before its first trade."""
        last = self.books[symbol].last
        return last.price if last else ZERO

    def price_in_bnb(self, asset: str) -> Decimal | None:
        """Return the price of one unit of an asset in BNB, directly or by way of its quote assets; None if unknown."""
        direct = self._direct_price_in_bnb(asset)
        if direct is not None:
            return direct
        for symbol in self.symbols.values():
            price = self.last_price(symbol.name)
            if price and symbol.base == asset:
                quote_price = self._direct_price_in_bnb(symbol.quote)
                if quote_price is not None:
                    return price * quote_price
        return None

    def _direct_price_in_bnb(self, asset: str) -> Decimal | None:
        if asset == "BNB":
            return Decimal(1)
        for symbol in self.symbols.values():
            price = self.last_price(symbol.name)
            if price and (symbol.base, symbol.quote) == ("BNB", asset):
                return 1 / price
            if price and (symbol.base, symbol.quote) == (asset, "BNB"):
                return price
        return None
