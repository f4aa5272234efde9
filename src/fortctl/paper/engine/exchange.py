"""The engine of one paper exchange: commands and recorded trades in, changes and events out. No I/O, no clock.

:class:`Engine` owns the :class:`~fortctl.paper.engine.state.ExchangeState`, administers accounts and keys, and lets
recorded trades happen. It places no order itself: :class:`~fortctl.paper.engine.order_manager.OrderManager` does.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from fortctl.errors import BadInputError, ConflictError, NotFoundError
from fortctl.paper.engine import user_events
from fortctl.paper.engine.accounts import ZERO, Account, ApiKey
from fortctl.paper.engine.market_data import Recording
from fortctl.paper.engine.order_manager import OrderManager
from fortctl.paper.engine.state import MARKET, ExchangeState, Listeners
from fortctl.paper.engine.symbols import Symbol
from fortctl.paper.engine.trades.table import Trade


class Engine:
    """One paper exchange.

    Args:
        recordings: the recorded market of each symbol.
        fill_model: one of :data:`fortctl.paper.engine.order_book.FILL_MODELS`.

    Attributes:
        state: everything that the exchange knows.
        listeners: receive user events, first fills and deleted keys.
        order_manager: places, executes and ends orders.
    """

    def __init__(self, recordings: dict[str, Recording], fill_model: str) -> None:
        self.state = ExchangeState(recordings, fill_model)
        self.listeners = Listeners()
        self.order_manager = OrderManager(self.state, self.listeners)

    # -- accounts and keys -------------------------------------------------------------------------------------------

    def create_account(
        self, name: str, deposits: dict[str, Decimal], now: int, *, master: str | None = None, email: str = ""
    ) -> Account:
        """Create an account with deposits.

        Args:
            master: the account whose sub-account it becomes, or None.
            email: its address; by default made of the name.

        Raises:
            ConflictError: the name or the address is in use.
            BadInputError: the master is a sub-account itself.
            NotFoundError: there is no such master.
        """
        state = self.state
        if name in state.accounts:
            raise ConflictError(f"there is a paper account {name} already", hint="choose another name")
        if master is not None and state.account(master).master is not None:
            raise BadInputError(f"{master} is a sub-account itself", hint="name a master account")
        email = email or f"{name.lower()}@paper.example"
        if any(other.email == email for other in state.accounts.values()):
            raise ConflictError(f"there is a paper account with the address {email} already", hint="choose another")
        account = Account(name, state.next_uid, update_time=now, email=email, master=master)
        state.accounts[name] = account
        state.next_uid += 1
        state.changed.add(("account", name))
        for asset, amount in deposits.items():
            self.deposit(name, asset, amount, now)
        return account

    def deposit(self, name: str, asset: str, amount: Decimal, now: int) -> None:
        """Add an amount to an account; a negative amount is a withdrawal. Raises ``BadInputError``."""
        account = self.state.account(name)
        if not amount.is_finite() or account.free.get(asset, ZERO) + amount < 0:
            raise BadInputError("a deposit must be a number, and a withdrawal must not exceed the free balance")
        account.add(asset, amount)
        self.state.accounts[MARKET].add(asset, -amount)
        account.update_time = now
        self.state.changed |= {("account", name), ("account", MARKET)}
        self.listeners.on_user_event(name, "balance", user_events.balance_update(asset, f"{amount:.8f}", now))
        self.listeners.on_user_event(name, "position", user_events.position(account, (asset,), now))

    def add_key(self, key: ApiKey) -> None:
        """Register a key of the account page. Raises ``ConflictError`` if another key has its name."""
        self.state.account(key.account)
        if any(other.name == key.name for other in self.state.keys.values()):
            raise ConflictError(f"there is a paper key {key.name} already", hint="choose another name, or delete it")
        self.add_sub_key(key)

    def add_sub_key(self, key: ApiKey) -> None:
        """Register a key that a master created for its sub-account; other keys may have the same name."""
        self.state.keys[key.api_key] = key
        self.state.changed.add(("key", key.api_key))

    def delete_key(self, name: str) -> ApiKey:
        """Delete the key of a name and return it. Raises ``NotFoundError``."""
        key = self.state.key_named(name)
        self.remove_key(key)
        return key

    def remove_key(self, key: ApiKey) -> None:
        """Delete a key and notify the listener."""
        del self.state.keys[key.api_key]
        self.state.changed.add(("key", key.api_key))
        self.listeners.on_key_deleted(key)

    def edit_symbol(self, name: str, changes: dict[str, Any]) -> Symbol:
        """Change a symbol's status, commissions, flags or filters. Raises ``NotFoundError``, ``BadInputError``."""
        symbol = self.state.symbols.get(name)
        if symbol is None:
            raise NotFoundError(f"there is no symbol {name}", hint="see 'fortctl paper market status'")
        symbol.edit(changes)
        self.state.changed.add(("symbol", name))
        return symbol

    # -- the market --------------------------------------------------------------------------------------------------

    def apply_trade(self, symbol: str, trade: Trade, now: int) -> set[str]:
        """Let one recorded trade happen; return the accounts whose orders it changed."""
        state, orders = self.state, self.order_manager
        book = state.books[symbol]
        if book.resting and book.reached(trade.price):
            for match in book.match(trade):
                orders.execute(match, now)
        book.record_trade(trade)
        state.history[symbol].add(trade, now)
        if book.waiting:
            orders.trigger(symbol, now)
        if book.moved:
            state.changed |= {("order", str(number)) for number in book.moved}
            book.moved.clear()
        return orders.flush(now)

    def record_trade(self, symbol: str, trade: Trade, now: int) -> None:
        """Record a trade that happened before a restart; it fills and triggers no order."""
        self.state.books[symbol].record_trade(trade)
        self.state.history[symbol].add(trade, now)

    def restore_books(self) -> None:
        """Set the books to what the state file said, after every earlier trade has been recorded again."""
        saved, self.state.saved_books = self.state.saved_books, {}
        for name, body in saved.items():
            if name in self.state.books:
                self.state.books[name].restore(body)
