"""The exchange itself: accounts, orders and matching in memory. No I/O, no clock, no randomness.

One plain object, :class:`~.state.ExchangeState`, holds everything. The modules that change it stand above it and never
import each other in a circle: ``order_checks`` refuses orders, ``order_manager`` places, executes and ends them,
``order_lists`` links them to OCO and OTO lists, ``amend`` and ``self_trade_prevention`` change them. ``order_reports``
emits Binance's user events. :class:`~.exchange.Engine` composes these, administers accounts and keys, and applies the
recorded trades.

A change takes effect at once, in memory. It adds (kind, name) to ``ExchangeState.changed``, which the server writes
to its state file, and calls the listeners, who may send an event only when the change is durable.

Money is ``Decimal``, times are milliseconds. The sum of each asset over all accounts is zero at any time: deposits and
recorded trades come from the account ``@market``, commissions go to ``@fees``. Refusals are
:class:`~.errors.BinanceError` with Binance's code, text and HTTP status.
"""
