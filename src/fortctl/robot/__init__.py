"""The trading robot: one robot owns one Binance account at a time, and runs buy-sell cycles on it.

The robot is a state machine without I/O, surrounded by thin layers that feed and obey it:

- ``core`` holds the events of the journal, the book that they make, and the tables of the lifecycle. It is pure: events
  in, new state out, ``Decimal`` for money, no clock and no network.
- ``strategy`` decides which orders should exist: the book and a view of the market in, a plan out. It is pure too, and
  plugins write their own with it.
- ``trading`` connects both to an exchange: it follows the streams, journals each event, and executes plans.
- ``storage`` keeps the journal, the checkpoint beside it, and the panic latch.
- ``control`` carries out an operator's commands, which arrive sealed through the mailbox, and listens for panic.
- ``process`` is the operating system's side: start, stop, lock, log, metrics.
- ``testing`` is the property suite for authors of strategies.

Two rules explain most of the code. An order's intent is durable before the order leaves, so that a robot which was
killed at any instant finds every order again. And an order whose outcome is not known is *unknown*, never *failed*: the
robot looks it up before it places another one in its stead.
"""
