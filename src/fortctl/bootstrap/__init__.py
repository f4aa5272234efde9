"""The only place that makes adapters.

Commands and services work over ports; the modules here choose the adapter behind each port from the home's
configuration, and hand it over. :class:`.container.Container` does so for an ordinary command: one function for each
service, which imports and makes what it needs when it is first called, so that a command pays at start for what it
uses. The other modules assemble one thing each: the robot's process, a rotation, the issuer, the doctor, the vaults.

Panic has modules of its own, because it must work where nothing else does:

- :mod:`.panic_latch` writes the latch before anything else is imported.
- :mod:`.deadline` reads what may hang (a pipe, a dead network disk) for a limited time.
- ``emergency*`` open what opens without a person, and name the rest.

Unlocking is decided here too (:mod:`.unlock`): which option, environment variable, file, keyring or prompt opens a
vault, in one order for all commands. :mod:`.key_lock` admits one writer of an account's keys at a time.
"""
