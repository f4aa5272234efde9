"""The robot's state machine, without I/O: events in, state and reasons out.

The journal is a list of events (``events``), and everything the robot remembers follows from it: :class:`Book`
(``book``) replays events into cycles, orders, dust and balances, and the same events always give the same book. So a
restart, a test and the offline status all see the same robot. An event is a fact and is never changed.

Four small tables decide what may happen, each written out in full so that a test can visit every cell: the life of a
cycle (``cycle``), the trading mode and the key (``lifecycle``), and the steps by which an order leaves
(``submission``). The state that people see (``running``, ``held``, ``key_lost`` …) is derived from them and stored
nowhere.

The other modules answer questions about a book: what did the robot miss while it was away, and may it continue alone
(``reconciliation``, ``hold_reasons``); what does the loss of the key mean in money (``key_loss``); which filter would
an order break (``filters``); what was earned (``profit_report``); what does ``robot status`` show (``status``).

Quantities are in the base asset, money in the quote asset, both ``Decimal``; times are milliseconds of the exchange's
clock unless a docstring says otherwise. Nothing here reads a clock, a file or the network.
"""
