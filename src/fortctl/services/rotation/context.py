"""What the steps of a rotation use, and what they share: the operation and its journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from fortctl.errors import ConflictError, FortctlError
from fortctl.keys.fingerprint import fingerprint
from fortctl.model import KeyPair, Role
from fortctl.ports import Clock, Issuer
from fortctl.secret import Secret
from fortctl.services.keys.issuer import SUB_ACCOUNT
from fortctl.services.keys.service import KeyService
from fortctl.services.robot.client import RobotClient
from fortctl.services.robot.service import RobotService
from fortctl.services.robot.status import RobotReport, RobotStatusReader
from fortctl.services.rotation.deletion_proof import DeletionProof
from fortctl.services.rotation.facts import OperatorAction, RotationFacts
from fortctl.services.rotation.plan import Operation, RotationMode
from fortctl.services.site_vault import SiteVault
from fortctl.timestamps import parse_rfc3339

SETTLES_WITHIN_S, POLL_EVERY_S, RENEW_EVERY_S = 30.0, 0.1, 5.0
# States in which the robot would trade, had it not been stopped for the rotation.
AT_WORK = ("running", "reconciling")


class Guide(Protocol):
    """The person at the keyboard, if there is one."""

    def progress(self, line: str) -> None:
        """Report progress."""

    def keys(self, todo: Sequence[OperatorAction], roles: Collection[Role]) -> Mapping[Role, KeyPair] | None:
        """Show what to do at Binance and ask for the new keys; return None if there is nobody to ask."""

    def refused(self, error: FortctlError) -> bool:
        """Show why a key was refused; return whether another one will be entered."""

    def on_timeout(self, cycles_open: int) -> str:
        """Return what to do about a drain that timed out: ``wait``, ``keep``, ``cancel`` or ``abort``."""

    def deleted(self, todo: Sequence[OperatorAction]) -> bool:
        """Show which keys to delete and wait; return whether the person says that it is done."""


class Journal(Protocol):
    """Where each step is journaled (see :class:`fortctl.services.rotation.journal.RotationJournal`)."""

    def put(self, operation: Operation) -> Operation: ...

    def renew(self) -> None: ...

    def issued_addresses(self, role: Role, fingerprint: str) -> tuple[str, ...] | None: ...


@dataclass(frozen=True)
class RotationDeps:
    """What the steps use.

    Attributes:
        issuer: opens the issuer's adapter, where it is not a person.
        address: returns the address from which the host of a role's key reaches the exchange, or None if unknown.
        timeout_s: how long a drain may take (s).
    """

    vault: SiteVault
    keys: KeyService
    client: RobotClient
    robot: RobotService
    status_reader: RobotStatusReader
    issuer: Callable[[], Issuer]
    proofs: DeletionProof
    guide: Guide
    clock: Clock
    sleep: Callable[[float], None]
    address: Callable[[Role], str | None] = lambda role: None
    timeout_s: float = 600.0


class DrainTimeoutError(Exception):
    """The drain timed out, and the rotation must be aborted."""

    def __init__(self, cycles_open: int) -> None:
        super().__init__()
        self.cycles_open = cycles_open


class RotationContext:
    """One rotation that this process works on.

    Args:
        deps: what its steps use.
        journal: where each step is journaled.
        operation: the rotation, at the step that it has reached.

    Attributes:
        warnings: ``(code, message)`` pairs, so far.
    """

    def __init__(self, deps: RotationDeps, journal: Journal, operation: Operation) -> None:
        self.deps = deps
        self.operation = operation
        self.warnings: tuple[tuple[str, str], ...] = ()
        self._journal = journal

    @property
    def roles(self) -> tuple[Role, ...]:
        return self.operation.scope.roles

    @property
    def by_issuer(self) -> bool:
        """Whether fortctl itself makes and deletes the keys."""
        return self.facts.issuer == SUB_ACCOUNT

    @property
    def facts(self) -> RotationFacts:
        return self.operation.facts

    def put(self, operation: Operation) -> None:
        """Make the rotation's progress durable."""
        self.operation = self._journal.put(operation)

    def note(self, facts: RotationFacts) -> Operation:
        """Make changed facts durable."""
        self.put(self.operation.noted(self.now(), facts))
        return self.operation

    @asynccontextmanager
    async def issuer(self) -> AsyncIterator[Issuer]:
        """Open the issuer (see :func:`open_issuer`); the first time, journal for which sub-account it issues keys."""
        async with open_issuer(self.deps, self.operation) as issuer:
            if self.facts.issued_for is None:
                self.note(replace(self.facts, issued_for=_email_fingerprint(self.deps, issuer)))
            yield issuer

    def renew_lease(self) -> None:
        """Renew this process's lease. Raises ``ConflictError`` if another command took over."""
        self._journal.renew()

    def issued_addresses(self, role: Role) -> tuple[str, ...] | None:
        """Return the IP list that the issuer made the old key with, or None if it did not make it."""
        return self._journal.issued_addresses(role, self.facts.old[role].fingerprint)

    def now(self) -> int:
        return self.deps.clock.now_ms()

    def wait(self, seconds: float, over: Callable[[], bool]) -> bool:
        """Wait until ``over`` returns True, renewing the lease meanwhile; return False if that takes too long."""
        clock = self.deps.clock
        deadline, renew_at = clock.monotonic() + seconds, clock.monotonic() + RENEW_EVERY_S
        while not over():
            if clock.monotonic() >= deadline:
                return False
            if clock.monotonic() >= renew_at:
                self._journal.renew()
                renew_at = clock.monotonic() + RENEW_EVERY_S
            self.deps.sleep(POLL_EVERY_S)
        return True

    def with_trading_gap(self, status: RobotReport) -> RotationFacts:
        """Return the facts with the trading gap, if the robot's status contains it."""
        swap = status.key_swap
        if self.operation.mode is RotationMode.OVERLAP and swap is not None:
            return replace(self.facts, trading_gap_s=swap.gap_s)
        lost = self.facts.lost_since
        if self.operation.mode is RotationMode.URGENT and lost is not None and status.state == "running":
            return replace(self.facts, trading_gap_s=round((self.now() - parse_rfc3339(lost)) / 1000, 3))
        return self.facts


@asynccontextmanager
async def open_issuer(deps: RotationDeps, operation: Operation) -> AsyncIterator[Issuer]:
    """Open the issuer that a rotation was begun with; close it afterwards.

    Raises:
        ConflictError: the issuer was changed to another sub-account's since.
        VaultLockedError, NotFoundError: the issuer's key cannot be read.
    """
    issuer = deps.issuer()
    try:
        if operation.facts.issued_for not in (None, _email_fingerprint(deps, issuer)):
            raise ConflictError(
                f"the rotation was begun with another sub-account's issuer than that of {issuer.email}",
                hint="set that one again ('fortctl issuer set'), or end the rotation: 'fortctl keys rotate --abort'",
                details={"operation": operation.as_json()},
            )
        yield issuer
    finally:
        await issuer.close()


def _email_fingerprint(deps: RotationDeps, issuer: Issuer) -> str:
    # The address itself is in the issuer's vault alone.
    return fingerprint(Secret(issuer.email), deps.vault.fingerprint_key())


def start_again(deps: RotationDeps) -> None:
    """Start the robot unless it trades already."""
    if deps.status_reader.status().state in AT_WORK:
        return
    try:
        deps.robot.start()
    except ConflictError as conflict:
        if conflict.details.get("state") != "running":
            raise
