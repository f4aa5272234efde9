"""Signed and sealed messages between operators and robots, and the queues that carry them (docs/sealed-mailbox.md).

An operator and a robot may be on different hosts, with a database between them that nobody trusts. So the store holds
only bytes that are signed by their author, and secrets in them are encrypted to the robot.

- :mod:`.crypto`: recipient keys (HPKE) and identities (Ed25519). Each signature is made for one purpose.
- :mod:`.messages`: commands and receipts. The robot authenticates a command before it opens its sealed payload, and
  rejects a number that it has already processed.
- :mod:`.pairing`: how operator and robot learn each other's identity, confirmed by a short code.
- :mod:`.panic_order`: an order to halt that was signed in advance, and can be sent without unlocking anything.
- :mod:`.sqlite` and :mod:`.postgres`: two stores with the same behaviour; they implement
  :class:`fortctl.ports.Mailbox` and :class:`fortctl.ports.PanicBoard`.
"""
