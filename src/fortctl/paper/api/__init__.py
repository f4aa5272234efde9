"""Binance's calls: parameters in, an engine command, Binance's JSON out. No I/O.

:data:`.registry.CALLS` maps an HTTP method and path to a :class:`~.parameters.Call`: security, weight, parameters and
handler. :data:`.registry.METHODS` maps a method of the WebSocket API to the same entries, so that both protocols
agree. A handler receives a :class:`~.parameters.Context` (engine, time, key) and the parameters as texts, and returns
the response or raises :class:`~fortctl.paper.engine.errors.BinanceError`.

``authentication`` checks key, address, time, signature and permission before, in an order that discloses nothing
(decision 0005); ``parameters`` and ``order_parameters`` read values and refuse them in Binance's words. The other
modules hold the handlers, by section of Binance's documentation.
"""
