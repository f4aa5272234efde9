"""Panic: cut every link between an account and its robot, whatever state the machine is in.

A panic must work when nothing else does: the robot hangs, the disk is full or hangs, a vault is locked or damaged, the
configuration cannot be parsed, the exchange answers nobody. So it needs no passphrase, no configuration and no plugin,
and no part of it waits for another without need.

The ideas:

- **The latch comes first.** One small file keeps the robot from placing orders. The command writes it before it loads
  anything else (``early_latch``, ``bootstrap/panic_latch.py``); the steps that follow end what is still on its way.
- **A table of steps.** ``plan.PLAN`` says what each step follows, how long it may take and what happens when it fails.
  ``steps`` has a function for each row, ``panic.Panic`` plays the table. A step that fails or hangs stops no other.
- **Facts in one place.** ``state.PanicState`` holds what a step learns for later ones; ``key_inventory.KeyInventory``
  what is known of the keys: read from a vault, noted in the latch by an earlier panic, named by the issuer's list.
- **Only a proof settles a key.** Every key that may live at the exchange is an ``actions.Action`` for a person until
  the exchange refuses it as unknown, or the issuer's list names it no longer. What cannot be read is unknown, not
  absent. All of it goes into the latch file, so that a panic that is run again still knows it.
- **The key that cancels orders is deleted last** at the exchange (docs/decisions/0021-what-a-panic-settles.md); the
  copies here are destroyed at once, since the panic has the key in memory.

``ports.PanicPorts`` is what a panic may touch; ``bootstrap/panic.py`` makes it. ``dry_run`` reports what a panic would
do. ``presigned_order`` keeps an order ready for a robot on another host, ``remote_halt`` sends it.

To add a step: docs/architecture.md, "Where to change what".
"""
