"""Who may change an account's keys: one command at a time, none while they are rotated, none after a panic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fortctl.errors import ConflictError

if TYPE_CHECKING:
    from fortctl.cli.context import CommandContext
    from fortctl.model import Role
    from fortctl.services.rotation.journal import RotationJournal
    from fortctl.services.rotation.plan import Operation

# How long one who writes keys waits for another, and how often it looks.
WAITS_S, LOOK_EVERY_S = 30.0, 0.05


def refuse_latched(app: CommandContext) -> None:
    """Raise ``ConflictError`` after a panic: its way back begins with ``panic-clear``, and no key is taken in before."""
    from fortctl.services.robot.client import latched_after_panic

    if app.wiring.latch.is_latched():
        raise latched_after_panic(app.wiring.account)


def require_no_rotation(app: CommandContext, role: Role | None = None) -> None:
    """Raise ``ConflictError`` while a rotation is open (of ``role``, or of any): its keys are changed by nothing else.

    It is looked at before anything is unlocked or asked; :func:`key_write_lock` then keeps it so.
    """
    from fortctl.bootstrap.rotation import rotation_journal
    from fortctl.services.rotation.journal import refuse_open

    wiring = app.wiring
    if wiring.home.operations.exists():
        refuse_open(rotation_journal(app, "look").current(), role)


@contextmanager
def key_write_lock(app: CommandContext, role: Role | None = None) -> Iterator[None]:
    """Hold the lock that rotations hold while a key is written (of ``role``, or of any): none begins meanwhile.

    Others who write keys are waited for; a panic takes the lock from anybody.

    Raises:
        ConflictError: a rotation is under way, or one of the role is open.
    """
    from fortctl.bootstrap.rotation import rotation_journal
    from fortctl.services.rotation.journal import refuse_open

    journal = rotation_journal(app, app.command)
    _take_in_turn(app, journal)
    try:
        refuse_open(journal.current(), role)
        yield
    finally:
        journal.release()


def _take_in_turn(app: CommandContext, journal: RotationJournal) -> None:
    from fortctl.services.rotation.journal import WRITERS

    clock = app.wiring.clock
    deadline = clock.monotonic() + WAITS_S
    while True:
        try:
            journal.take()
            return
        except ConflictError as taken:
            waits = taken.details.get("owner", {}).get("what") in WRITERS
            if not waits or clock.monotonic() >= deadline:
                raise
        clock.wait(LOOK_EVERY_S)


def run_end_hooks(app: CommandContext, operation: Operation | None) -> None:
    """Have the hooks told of a rotation that this command has just ended, as something other than its own work."""
    from fortctl.services.rotation.hooks import tell_ended

    for code, message in tell_ended(app.wiring.hooks, operation):
        app.warn(code, message)
