"""The running paper exchange: protocols, replay, storage and administration around one engine.

:class:`~.server.PaperServer` joins the engine with time, rate limits, faults and the state file, and executes calls.
Above it ``rest`` and ``websocket_api`` parse requests and write responses, ``admin_api`` and ``admin_page`` administer,
and ``router`` chooses among them; ``lifecycle`` starts and stops everything. Below it ``replay`` applies the recorded
trades, ``subscriptions`` and ``market_streams`` deliver events, and ``state_writer`` stores changes.

Everything runs in one event loop except the writes of the state file, which have a thread of their own. A request is
executed within one turn of the loop. Its response, and every event of it, waits until the change is on disk: no client
ever knows of something that a crash can undo (decision 0008).
"""
