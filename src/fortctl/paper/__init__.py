"""A local Binance spot exchange for tests: recorded trades, Binance's protocols, faults on demand.

Real money must never depend on it, and nothing of fortctl's robot or vault is imported here. Three packages, each of
which imports only those before it:

- ``engine`` is the exchange itself: accounts, orders, matching, in memory. It has no I/O and no clock; every command
  receives the time.
- ``api`` is the table of Binance's calls: parameters in, an engine command, Binance's JSON out. REST and the WebSocket
  API share it.
- ``server`` is the running process: HTTP and WebSockets, replay of the recording, the state file, the admin API.

``faults`` decides which requests and events misbehave, ``admin_client`` calls the admin API of a running exchange, and
``testing`` serves one to any bot's tests. docs/paper-exchange.md says what is modelled and how to use it.
"""
