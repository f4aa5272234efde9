"""Admit one writer to an account's keys at a time, none while they are rotated, none after a panic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fortctl.errors import ConflictError

if TYPE_CHECKING:
    from fortctl.bootstrap.container import Container
    from fortctl.model import Role
    from fortctl.services.rotation.journal import RotationJournal
    from fortctl.services.rotation.plan import Operation
    from fortctl.system.clock import SystemClock

# How long a command waits for another one that writes keys, and how often it tries again (s).
WAIT_S, RETRY_EVERY_S = 30.0, 0.05


def refuse_latched(container: Container) -> None:
    """Raise ``ConflictError`` while the account is latched: no key is accepted before ``panic-clear``."""
    from fortctl.services.robot.client import latched_after_panic

    if container.latch.is_latched():
        raise latched_after_panic(container.account)


def require_no_rotation(container: Container, role: Role | None = None) -> None:
    """Check early, before anything is unlocked or asked, that no rotation is open; :func:`key_write_lock` checks again.

    Args:
        role: the role of interest; None means any.

    Raises:
        ConflictError: a rotation of the role is open.
    """
    if not container.home.operations.exists():
        return
    from fortctl.bootstrap.rotation import rotation_journal
    from fortctl.services.rotation.journal import require_none_open

    require_none_open(rotation_journal(container, "look").current(), role)


@contextmanager
def key_write_lock(container: Container, command: str, role: Role | None = None) -> Iterator[None]:
    """Hold the lock of rotations while keys are written, so that none begins meanwhile.

    Other commands that write keys are waited for. A panic takes the lock away from anybody.

    Args:
        command: the command that writes, for messages of those that it keeps waiting.
        role: the role whose key is written; None means any.

    Raises:
        ConflictError: a rotation is running, or one of the role is open.
    """
    from fortctl.bootstrap.rotation import rotation_journal
    from fortctl.services.rotation.journal import require_none_open

    journal = rotation_journal(container, command)
    _acquire(journal, container.clock)
    try:
        container.reload_vault()
        require_none_open(journal.current(), role)
        yield
    finally:
        journal.release()


def _acquire(journal: RotationJournal, clock: SystemClock) -> None:
    from fortctl.services.rotation.journal import WRITERS

    deadline = clock.monotonic() + WAIT_S
    while True:
        try:
            journal.acquire()
            return
        except ConflictError as conflict:
            by_writer = conflict.details.get("owner", {}).get("what") in WRITERS
            if not by_writer or clock.monotonic() >= deadline:
                raise
        clock.wait(RETRY_EVERY_S)


def run_end_hooks(container: Container, operation: Operation | None) -> None:
    """Run the hooks for a rotation that this command ended as a side effect; None does nothing."""
    if operation is None:
        return
    from fortctl.services.rotation.hooks import fire_post_rotate

    for code, message in fire_post_rotate(container.hooks, operation):
        container.warn(code, message)
