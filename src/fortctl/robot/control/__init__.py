"""What controls a robot: signed commands from its mailbox, and panic orders.

- ``command_processor`` takes a row out of the mailbox, checks and opens it, handles it, and answers with a signed
  receipt. What a command changes, its number and its receipt are one write to the robot's vault: a command is applied
  at most once, and a robot that was killed before it answered gives the same answer after its restart.
- ``command_handlers`` has one method for each kind of command. It asks the runner, writes nothing, and returns a
  ``CommandOutcome``: the receipt's data, and what must be written.
- ``robot_vault`` is what the robot believes: identity, paired operators, the last command applied, settings, keys.
  Whatever steers money is read from there alone, never from the mailbox, which others may administer.
- ``panic_listener`` obeys panic orders, which wait in the mailbox without end, and suspends trading while the mailbox
  cannot be reached for longer than ``robot.deadman``.

A panic wins over a command: the latch is checked before a key is written and again after it.
Bytes on the wire: docs/sealed-mailbox.md. One key's whole way: docs/key-path.md.
"""
