"""The running robot: it connects the pure core and a strategy to one account at the exchange.

One worker decides. :class:`Runner` (``runner``) is its loop: make the books agree with the exchange, look up what is
unknown, ask the strategy for a plan, execute it, sleep until something happens. Streams and answers come in beside the
worker; they only add events to the book and wake it.

The collaborators share one plain object, :class:`RobotState` (``state``): the book with its journal, the key, price,
balances and clocks. Each of them is made from it and a callback or two, and none knows the runner:

- ``streams`` follows the market's trades and the account's own orders and balances;
- ``order_executor`` places and cancels orders; a fill's whole way to the next order stands in it;
- ``order_lookup`` asks what became of an order; ``reconciler`` makes the books agree after a break;
- ``key_monitor`` decides whether a refusal means that the key is lost; ``key_manager`` loads, swaps and forgets keys;
- ``strategy_runner`` asks the strategy, keeps it within its limits and refreshes the symbol's rules;
- ``journaled_book`` writes events before (or, where the exchange repeats them, right after) they count;
- ``snapshot_keeper`` proves the snapshot that a start began with, and makes the next, beside the worker;
- ``exchange_clock`` carries the exchange's time on without asking for it again.

Everything outside is a port: exchange, clock, latch and journal are handed in. So the same code runs against Binance,
against the paper exchange, and in a simulation that kills it between any two steps. docs/fill-to-order.md follows one
fill through these modules.
"""
