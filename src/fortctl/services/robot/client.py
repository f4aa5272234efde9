"""Speak to a robot: sealed, signed commands into the mailbox, signed receipts out of it.

The robot's identity is pinned once, from the file that the robot leaves in its own folder of the home (never from
the mailbox, which others may administer), and every card and receipt is checked against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fortctl.errors import (
    ConflictError,
    RobotTimeoutError,
    RobotUnreachableError,
    VaultDamagedError,
    error_from_json,
)
from fortctl.mailbox.home_anchor import HomeAnchor
from fortctl.mailbox.messages import Command, read_receipt, seal_command
from fortctl.mailbox.payloads import DrainCycles, StopTrading, encode_payload
from fortctl.secret import Secret
from fortctl.services.robot.card import RobotCardReader
from fortctl.services.site_vault import RobotPin

if TYPE_CHECKING:
    from fortctl.mailbox.payloads import CommandPayload
    from fortctl.ports import AuditLog, Clock, Latch, Mailbox, RobotProcess
    from fortctl.services.robot.card import RobotCard
    from fortctl.services.site_vault import SiteVault

ANSWER_WITHIN_S = 30.0
# How long a command may lie in the mailbox before the robot refuses it as stale.
VALID_FOR_S = 900.0
_POLL_S = 0.01
# Every JSON reader keeps integers up to here exact (RFC 8259, section 6).
NUMBER_LIMIT = 2**53 - 1
ALIVE_EVERY_S = 0.5


@dataclass(frozen=True)
class Receipt:
    """The robot's signed answer to one command.

    Attributes:
        data: what the robot reports, as JSON; :mod:`fortctl.mailbox.receipts` reads it.
    """

    number: int
    data: Mapping[str, Any]
    elapsed_ms: float


@dataclass(frozen=True)
class PendingCommand:
    """A command that was sent and whose receipt has not arrived.

    Attributes:
        number: its number in the mailbox.
        payload: its arguments, kept in case that they must be sealed again.
        started: when it was sent (monotonic seconds).
    """

    number: int
    payload: CommandPayload
    started: float


class RobotClient:
    """One operator's line to one account's robot.

    Args:
        vault: the site's vault for this account.
        mailbox: the command queue.
        process: the local robot's process, or None for a robot on another host.
        latch: the local robot's latch.
        folder: the robot's folder (its public identity lies there).
        clock: wall clock and monotonic clock.
        sleep: waits between looks into the mailbox.
        passphrase: gives the robot vault's passphrase when it has to be brought up.
    """

    def __init__(
        self,
        vault: SiteVault,
        mailbox: Mailbox,
        process: RobotProcess,
        latch: Latch,
        folder: Path,
        clock: Clock,
        sleep: Callable[[float], None],
        passphrase: Callable[[], Secret | None],
        audit: AuditLog,
    ) -> None:
        self._vault = vault
        self._cards = RobotCardReader(vault, mailbox, folder)
        self._mailbox = mailbox
        self._process = process
        self._latch = latch
        self._clock = clock
        self._sleep = sleep
        self._passphrase = passphrase
        self._audit = audit

    @property
    def account(self) -> str:
        return self._vault.account

    @property
    def latched(self) -> bool:
        return self._latch.is_latched()

    def ensure_running(self) -> None:
        """Bring the local robot up, not trading.

        Raises:
            ConflictError: the robot is latched.
            RobotUnreachableError, VaultLockedError: it does not come up.
        """
        self.require_unlatched()
        if self._process.owner() is None:
            self._process.ensure_running(self._passphrase())

    def require_unlatched(self) -> None:
        """Raise ``ConflictError`` after a panic: no robot starts and no key is stored before it is cleared."""
        if self.latched:
            raise latched_after_panic(self.account)

    def card(self) -> RobotCard | None:
        """Return the robot's published card; see :meth:`RobotCardReader.read`."""
        return self._cards.read()

    def execute(self, payload: CommandPayload, *, wait_s: float = ANSWER_WITHIN_S) -> Receipt:
        """Send one command and wait for the robot's receipt.

        Args:
            payload: its arguments; they travel sealed.
            wait_s: how long to wait for the receipt (s).

        Raises:
            RobotTimeoutError: no receipt in time; the command stays in the mailbox.
            FortctlError: the robot's own refusal, as its class.
        """
        return self.await_receipt(self.send(payload), wait_s=wait_s)

    def send(self, payload: CommandPayload) -> PendingCommand:
        """Send one command without waiting for its receipt (:meth:`await_receipt` does)."""
        self.ensure_running()
        started = self._clock.monotonic()
        number = self._append(payload)
        self._process.wake()
        return PendingCommand(number, payload, started)

    def await_receipt(self, command: PendingCommand, *, wait_s: float = ANSWER_WITHIN_S) -> Receipt:
        """Wait for a command's receipt, at most ``wait_s`` seconds from when it was sent. Raises as :meth:`execute`."""
        number = command.number
        while True:
            body = self._await_result(number, command.started + wait_s)
            if body["outcome"] == "applied":
                self._note_generation(int(body.get("generation", 0)))
                elapsed = (self._clock.monotonic() - command.started) * 1000
                return Receipt(number, dict(body.get("data") or {}), round(elapsed, 1))
            if body["outcome"] != "reseal":
                raise error_from_json(body.get("error") or {})
            # The robot has a fresh recipient key: seal the same command again, under a new number.
            number = self._append(command.payload)
            self._process.wake()

    def wait_until_idle(self, wait_s: float) -> bool:
        """Wait until every command that was sent has its receipt; return False if that takes longer than ``wait_s``."""
        deadline = self._clock.monotonic() + wait_s
        while any(row.result is None for row in self._mailbox.pending(self.account)):
            if self._clock.monotonic() >= deadline:
                return False
            self._process.wake()
            self._sleep(_POLL_S)
        return True

    def _append(self, payload: CommandPayload) -> int:
        card = self.card()
        if card is None and self._process.owner() is not None:
            # Another command is bringing it up for the first time: it holds its lock before it publishes its card.
            self._process.ensure_running(None)
            card = self.card()
        pin = self._cards.pin()
        if card is None or pin is None:
            raise RobotUnreachableError(
                "the robot has not introduced itself", hint="see 'fortctl robot logs', or 'fortctl robot pair'"
            )
        operator = self._vault.operator()
        # A home that was put back to an older copy may still stop its robot.
        stopping = isinstance(payload, DrainCycles | StopTrading)
        if not stopping:
            self._check_anchor(card, operator.id)
        arguments = encode_payload(payload, HomeAnchor(self._vault.generation, *(self._audit.head() or (0, ""))))
        now = self._clock.now_ms()
        for _attempt in range(8):
            number = max(self._mailbox.last_number(self.account), card.number) + 1
            if number > NUMBER_LIMIT:
                raise VaultDamagedError(
                    "the mailbox holds a command whose number is absurd: somebody changed it",
                    hint="take it out of the mailbox, or pair at another one ('fortctl robot pair --mailbox')",
                )
            command = Command(
                account=self.account,
                robot_id=pin.robot_id,
                operator_id=operator.id,
                number=number,
                kind=payload.kind,
                recipient_id=card.recipient_id,
                generation=card.generation + 1,
                created_at=now,
                valid_until=now + int(VALID_FOR_S * 1000),
                arguments=arguments,
            )
            row = seal_command(command, operator, card.recipient_public)
            try:
                self._mailbox.append(row)
            except ConflictError:
                continue  # another command took the number
            # A damaged audit log never keeps a robot from being stopped.
            facts = {"kind": payload.kind, "number": number}
            self._audit.append("command sent", account=self.account, result="sent", best_effort=stopping, **facts)
            return number
        raise ConflictError("the mailbox is too busy to take a command")

    def anchor(self) -> tuple[int, str] | None:
        """Return the last entry of this home's audit log that the robot knows of (number and hash), or None."""
        card = self.card()
        known = card.sites.get(self._vault.operator().id) if card is not None else None
        return (known.audit_number, known.audit_hash) if known is not None and known.audit_number else None

    def _check_anchor(self, card: RobotCard, operator_id: str) -> None:
        known = card.sites.get(operator_id)
        if known is not None and known.generation > self._vault.generation:
            here, there = self._vault.generation, known.generation
            raise VaultDamagedError(
                f"the vault is at generation {here}, but the robot has seen {there}:"
                " somebody put this home back to an older copy",
                hint=f"restore what is missing from a backup, or accept it: 'fortctl vault accept --above {there}'",
                details={"reason": "rolled_back", "generation": here, "seen_by_robot": there},
            )

    def _await_result(self, number: int, deadline: float) -> dict[str, Any]:
        pin = self._cards.pin()
        assert pin is not None
        look = self._clock.monotonic() + ALIVE_EVERY_S
        while True:
            if self._clock.monotonic() >= look:
                # A local robot that died over the command comes back and answers it.
                if self._process.owner() is None:
                    self.ensure_running()
                look = self._clock.monotonic() + ALIVE_EVERY_S
            row = self._mailbox.row(self.account, number)
            if row is not None and row.result is not None and row.result_signature is not None:
                body = read_receipt(row.result, row.result_signature, pin.public)
                if body.get("number") != number or body.get("account") != self.account:
                    raise VaultDamagedError("the receipt in the mailbox belongs to another command")
                return body
            if self._clock.monotonic() >= deadline:
                raise RobotTimeoutError(
                    "the robot did not answer in time",
                    hint="the command stays queued; see 'fortctl robot status' and 'fortctl robot logs'",
                    details={"number": number, "queued": True},
                )
            self._sleep(_POLL_S)

    def _note_generation(self, generation: int) -> None:
        pin = self._cards.pin()
        if pin is not None and generation > pin.generation:
            self._vault.pin_robot(RobotPin(pin.robot_id, pin.public, generation))


def latched_after_panic(account: str) -> ConflictError:
    """Return the error of what waits for ``panic-clear``."""
    return ConflictError(
        f"the robot of account {account} is latched after a panic",
        hint="look at the account first, then 'fortctl panic-clear'",
        details={"state": "latched"},
    )
