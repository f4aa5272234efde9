"""The exchange's streams: private order events of many accounts, and public trades (adapter).

A stream is an endless asynchronous iterator of frozen events (:mod:`fortctl.model.streams`). It reconnects by itself,
and reports ``StreamDown`` when it is cut and ``StreamUp`` when it is subscribed again. After each ``StreamUp`` the
consumer must query what it may have missed. A stream never raises because of the network.

The few ideas:

- :mod:`.reconnect` holds what every stream needs: growing pauses between attempts, and reading one frame.
- :class:`.market.MarketStream` is one symbol's public trades, over one connection for all listeners.
- Binance carries up to 1,000 user data streams on one WebSocket-API connection, one an account.
  :class:`.user_pool.UserStreamPool` owns the connections and decides which one carries a stream;
  :class:`.user_connection.UserStreamConnection` is one of them; :class:`.subscription.UserSubscription` is one
  account's stream, wherever it is carried: its key, its state and its queue of events.
- Nothing here holds its owner: a connection is given functions of its pool, a subscription knows neither.

Two keys of one account may overlap for a moment during a rotation. Two Ed25519 keys share a connection (the newer one
logs on to the session); any other second key is carried by another connection until the first one leaves.
"""
