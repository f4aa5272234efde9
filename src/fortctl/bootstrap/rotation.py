"""Assemble rotations: the journal and its lock, which need no unlocking, then what the steps use."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

from fortctl.bootstrap.container import host_name
from fortctl.errors import FortctlError

if TYPE_CHECKING:
    from fortctl.bootstrap.container import Container
    from fortctl.model import Role
    from fortctl.ports import Issuer, OperationOwner
    from fortctl.services.rotation.context import Guide
    from fortctl.services.rotation.journal import RotationJournal
    from fortctl.services.rotation.plan import Operation
    from fortctl.services.rotation.service import RotationService

# A process on another host that works on a rotation renews its lease at least this often.
SILENT_MS = 60_000


def rotation_journal(container: Container, what: str) -> RotationJournal:
    """Return the account's rotations, as this process ``what`` works on them."""
    from fortctl.ports import OperationOwner
    from fortctl.robot.process.proc import process_start_time
    from fortctl.services.rotation.journal import RotationJournal

    now, here = container.clock.now_ms(), host_name()
    me = OperationOwner(os.getpid(), here, process_start_time(os.getpid()) or "", what, now, now)

    def alive(owner: OperationOwner) -> bool:
        if owner.host != here:
            return container.clock.now_ms() - owner.renewed_at < SILENT_MS
        return process_start_time(owner.pid) == owner.started

    return RotationJournal(container.account, container.operations, me, alive, container.clock)


def rotation_service(container: Container, journal: RotationJournal, guide: Guide, timeout_s: float) -> RotationService:
    """Return what drives a rotation; the site's vault is unlocked here, the issuer's when it is needed."""
    from fortctl.services.rotation.context import RotationDeps
    from fortctl.services.rotation.deletion_proof import DeletionProof
    from fortctl.services.rotation.service import RotationService

    def issuer() -> Issuer:
        from fortctl.bootstrap.issuer import issuer_service

        return issuer_service(container).issuer()

    def address(role: Role) -> str | None:
        from fortctl.model import Role
        from fortctl.system.network import local_address

        if role is Role.ROBOT and container.account_entry.robot == "remote":
            return None
        try:
            return local_address(container.target().rest_url)
        except FortctlError:
            # No paper exchange runs: the next request to it reports that.
            return None

    deps = RotationDeps(
        vault=container.site_vault,
        keys=container.key_service,
        client=container.robot_client,
        robot=container.robot_service,
        status_reader=container.status_reader,
        issuer=issuer,
        proofs=DeletionProof(container.site_vault, container.robot_client, container.connect, container.clock),
        guide=guide,
        clock=container.clock,
        sleep=container.clock.wait,
        address=address,
        timeout_s=timeout_s,
    )
    return RotationService(journal, deps, container.hooks, container.audit, container.clock)


def abort_for_deleted_key(container: Container, role: Role) -> Operation | None:
    """End an open rotation of a role whose keys are about to be destroyed; return how it ended, or None."""
    from fortctl.services.rotation.journal import aborted_by_deletion

    if not container.home.operations.exists():
        return None
    # A rotation that cannot be ended must not prevent the destruction of a key.
    with contextlib.suppress(FortctlError, OSError, sqlite3.Error):
        journal = rotation_journal(container, "keys delete")
        current = journal.current()
        if current is None or role not in current.scope.roles:
            return None
        journal.force_acquire()
        try:
            # Read again: its former owner may have done another step until then.
            last = journal.current()
            return journal.put(aborted_by_deletion(last, role, container.clock.now_ms())) if last is not None else None
        finally:
            journal.release()
    return None
