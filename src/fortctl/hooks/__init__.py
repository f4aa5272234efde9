"""Run an operator's programs when something happens, and send notifications (adapters).

A hook is a program of the operator that fortctl starts at an event (``on-held``, ``on-panic``, …); it receives the
event as one JSON document on its standard input. A hook may hang, fail or misbehave, and must never hold up or change
what fortctl does:

- :mod:`.runner` starts it without a shell, without secrets in its environment, and in a session of its own.
- :mod:`.supervisor` is the parent process of each hook. It kills the hook at its time limit, even if fortctl has ended,
  and reports exit code and standard error.
- :mod:`.notify` is a hook that comes with fortctl: it sends the event to the URLs of a file through Apprise.

Which hooks run at which event is decided in :mod:`fortctl.services.hooks`.
"""
