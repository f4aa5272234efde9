"""The exchange port over Binance's REST and WebSocket APIs (adapters).

This package turns calls of :class:`fortctl.ports.Exchange` and :class:`fortctl.ports.Issuer` into signed requests, and
answers into frozen values of :mod:`fortctl.model`. Every failure leaves it as an ``ExchangeError`` with an
:class:`fortctl.ports.Outcome`; no exception of aiohttp or python-binance passes.

The few ideas:

- **An outcome, not an exception type, says what a failure means.** :func:`.error_codes.classify` decides it. The most
  important distinction: *unreachable* (the request never left) is not *unknown* (it may have been executed, so the
  order must be looked up).
- **Every answer is untrusted.** :mod:`.decoding` bounds its size and depth and checks each field; :mod:`.parsing` knows
  which fields each call has; :mod:`.http_answer` follows no redirect.
- **Requests are built and signed here** (:mod:`.signing`), so the timestamp that is signed is the one that the robot
  has fixed. python-binance serves as the transport, and only :mod:`.client` imports it.
- **One limiter a home** (:mod:`.rate_limiter`): all processes count their request weight in one store, and leave a part
  of it free for orders.
- **One pool a process** (:mod:`.connection_pool`): all accounts share connections; streams are in :mod:`.streams`.

How it is used: ``resolve()`` (:mod:`.targets`) turns a target's name into URLs; ``BinanceExchange(target, pair, ...)``
is one key's view of one account; ``SubAccountIssuer`` creates and deletes a sub-account's keys.
"""
