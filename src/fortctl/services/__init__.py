"""The use cases: what fortctl decides, over ports.

A service receives ports (:mod:`fortctl.ports`) and values, does one thing that a person or a robot asked for, and
returns a value or raises a :class:`fortctl.errors.FortctlError` with a code and a hint. It prints nothing, reads no
option, and makes no adapter: ``bootstrap`` hands it what it works with, so a test hands it something else.

The few ideas:

- :mod:`.site_vault` is the site's own key store, typed; every service that needs a site key goes through it.
- ``keys/`` adds, changes and deletes keys; ``robot/`` is the client side of a robot: commands through its mailbox,
  receipts, status.
- ``rotation/`` and ``panic/`` are tables of steps. A rotation writes each step to a store before it runs, so that
  another process can resume it. A panic runs its steps side by side and stops for none that fails.
- The remaining modules each serve one group of commands: accounts, vault, hooks, ``doctor``, ``explain``, the views of
  an account at the exchange.
"""
