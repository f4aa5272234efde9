"""Take signed commands out of the mailbox, apply each at most once, answer with signed receipts.

What steers money is believed from the robot's vault alone: the operators (pairing), the number of the last command
applied, the settings. What a command changes in the vault, its number and its receipt are one vault write, so a robot
that is killed between that write and the answer gives the same answer after its restart.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fortctl.canonical_json import canonical_json
from fortctl.errors import BadInputError, ConflictError, FortctlError, InternalError
from fortctl.keys.serialization import key_card_to_json
from fortctl.mailbox.crypto import RecipientKey
from fortctl.mailbox.home_anchor import HomeAnchor
from fortctl.mailbox.messages import Command, CommandRejectedError, SignedReceipt, open_command, sign_receipt
from fortctl.mailbox.payloads import DeliverKey, decode_anchor, decode_payload
from fortctl.model import KeyCard
from fortctl.ports import Clock, LatchGuard, Mailbox, MailboxRow
from fortctl.robot.control.command_handlers import CommandHandlers, CommandOutcome, RobotPort
from fortctl.robot.control.robot_vault import CommandCursor, InstalledKey, RobotVault
from fortctl.robot.core.status import KeyFacts
from fortctl.secret import Secret
from fortctl.system.memory import SecretScrubber

# Refusals of genuine commands that come too late or too early.
_OUT_OF_TIME = ("expired", "replayed", "not_yet", "superseded", "older_generation")


class CommandProcessor:
    """Applies the commands of one account's mailbox, one after another.

    Args:
        vault: the robot's vault.
        mailbox: the command queue.
        runner: the robot.
        parse_settings: makes the runner's settings of a ``configure`` command's arguments.
        clock: wall clock.
        latch: the panic latch.
        log: where refusals are logged.
    """

    def __init__(
        self,
        vault: RobotVault,
        mailbox: Mailbox,
        runner: RobotPort,
        parse_settings: Callable[[Mapping[str, Any]], Any],
        clock: Clock,
        latch: LatchGuard,
        log: logging.Logger,
    ) -> None:
        self._vault = vault
        self._mailbox = mailbox
        self._runner = runner
        self._clock = clock
        self._latch = latch
        self._log = log
        self._identity = vault.identity()
        self._account = vault.account
        self._published: tuple[Any, ...] = ()
        self._handlers = CommandHandlers(vault, runner, parse_settings, clock)

    def publish_if_changed(self) -> None:
        """Publish the robot's card again if its state has changed since the last one."""
        if _published_state(self._runner.status()) != self._published:
            self.publish()

    def publish(self) -> None:
        """Publish the robot's card, signed."""
        cursor, recipient, key = self._vault.cursor(), self._vault.recipient(), self._vault.key()
        now, status, facts = self._clock.now_ms(), self._runner.status(), self._runner.facts()
        body = canonical_json(
            {
                "account": self._account,
                "robot_id": self._identity.id,
                "recipient": {"id": recipient.key_id, "public": base64.b64encode(recipient.public_bytes()).decode()},
                "number": cursor.number,
                "generation": cursor.generation,
                "sites": {name: list(anchor) for name, anchor in cursor.anchors.items()},
                "key": key_card_to_json(_card_now(key.card, facts.key)) if key else None,
                "pending": self._vault.pending_type(),
                "state": facts.state,
                "status": _without_floats({name: status[name] for name in _PUBLISHED_STATUS if name in status}),
                "at": now,
            }
        )
        self._published = _published_state(status)
        self._mailbox.publish_card(self._account, body, self._identity.sign("card", body), now)

    async def poll(self) -> int:
        """Apply every pending command; return how many were answered."""
        rows = self._mailbox.pending(self._account)
        for index, row in enumerate(rows):
            await self._process(row, rows[index + 1 :])
        return len(rows)

    async def _process(self, row: MailboxRow, later: Sequence[MailboxRow]) -> None:
        cursor = self._vault.cursor()
        if row.number == cursor.number and cursor.receipt:
            # Applied before a crash that came before the answer.
            self._answer(row, SignedReceipt(cursor.receipt.encode(), base64.b64decode(cursor.signature)))
            return
        try:
            command = self._open(row)
            if command.kind == DeliverKey.kind and any(self._delivers_key(other) for other in later):
                raise CommandRejectedError("superseded")
        except CommandRejectedError as rejected:
            self._refuse(row, rejected.reason)
            return
        self._mailbox.claim(self._account, row.number, self._clock.now_ms())
        before = self._vault.secrets()
        await self._apply(row, command, before)
        await self._scrub_memory(command, before)

    def _open(self, row: MailboxRow) -> Command:
        recipient, cursor = self._vault.recipient(), self._vault.cursor()
        command = open_command(
            row,
            operators=self._vault.operators(),
            recipient=lambda key_id: recipient if key_id == recipient.key_id else None,
            account=self._account,
            robot_id=self._identity.id,
            now_ms=self._clock.now_ms(),
            last_number=cursor.number,
        )
        if command.kind == DeliverKey.kind and command.generation <= cursor.generation:
            raise CommandRejectedError("older_generation")
        return command

    def _delivers_key(self, row: MailboxRow) -> bool:
        """Return whether a pending row is a genuine delivery of another key."""
        try:
            return self._open(row).kind == DeliverKey.kind
        except CommandRejectedError:
            return False

    async def _apply(self, row: MailboxRow, command: Command, secrets: list[Secret]) -> None:
        """Handle a command, void it if a panic came, commit what it changes, activate its key, answer.

        Args:
            secrets: what the vault held before.
        """
        outcome = await self._handle(command)
        if outcome.keeps_key and self._latch.is_latched():
            # A panic destroyed every copy meanwhile: write no new one.
            outcome = _voided()
        anchors = self._vault.cursor().anchors
        cursor, receipt = self._commit(command, outcome)
        if outcome.keeps_key and self._latch.is_latched():
            # The panic came between the check and the write.
            receipt = self._withdraw(command, cursor)
        elif outcome.install is not None:
            await self._activate_key(outcome.install, overlap=outcome.overlap)
        if outcome.forget:
            # The receipt says that the key is destroyed, so scrub the memory before answering.
            await self._scrub_memory(command, secrets)
        if outcome.alters_card or cursor.anchors != anchors:
            self.publish()
        self._answer(row, receipt)

    async def _handle(self, command: Command) -> CommandOutcome:
        """Run the command's handler; whatever it raises becomes the command's refusal."""
        try:
            return await self._handlers.handle(command, decode_payload(command.kind, command.arguments))
        except FortctlError as error:
            self._log.warning("command %d (%s) refused: %s", command.number, command.kind, error.message)
            return CommandOutcome(error=error)
        except Exception as error:
            self._log.exception("command %d (%s) failed", command.number, command.kind)
            problem = f"{type(error).__name__} while the robot applied '{command.kind}'"
            return CommandOutcome(error=InternalError(problem))

    def _commit(self, command: Command, outcome: CommandOutcome) -> tuple[CommandCursor, SignedReceipt]:
        """Write what the command changes, its number and its receipt as one; return the last two."""
        before = self._vault.cursor()
        generation = command.generation if outcome.install else before.generation
        receipt = self._receipt(command.number, command.kind, outcome, generation)
        cursor = _cursor(command.number, generation, receipt, _advance_anchor(before.anchors, command))
        self._vault.write(
            cursor,
            settings=outcome.settings,
            key=outcome.install or outcome.refresh,
            recipient=RecipientKey.generate() if outcome.install else None,
            forget=outcome.forget,
            retiring=outcome.retire,
            forget_retiring=outcome.forget_retiring,
            pending=outcome.pending,
            operators=outcome.operators,
        )
        return cursor, receipt

    def _withdraw(self, command: Command, cursor: CommandCursor) -> SignedReceipt:
        """Destroy the key (or pair) that was just written, and refuse the command after all; return that receipt."""
        receipt = self._receipt(command.number, command.kind, _voided(), cursor.generation)
        refused = _cursor(command.number, cursor.generation, receipt, cursor.anchors)
        self._vault.write(refused, forget=True, forget_pending=True)
        return receipt

    async def _activate_key(self, key: InstalledKey, *, overlap: bool) -> None:
        """Hand a stored key to the runner."""
        load = self._runner.keys.swap if overlap else self._runner.keys.set
        await load(key.pair, uid=key.uid, allow=key.allow, card=key.card)

    async def _scrub_memory(self, command: Command, before: list[Secret]) -> None:
        """Overwrite what this process's memory still holds of keys that left the vault, or never came into it."""
        try:
            delivered = decode_payload(command.kind, command.arguments).secrets()
        except FortctlError:
            delivered = ()
        kept = self._vault.secrets()
        gone = [secret for secret in (*before, *delivered) if secret not in kept]
        before.clear()
        if gone:
            # The search runs while trading continues. The overwriting happens in this thread, while nothing else moves.
            places, cleaned = await SecretScrubber(gone, kept).clean()
            if places and not cleaned:
                self._log.warning("memory not cleaned: other threads are at work; %d places may hold a key", places)
            else:
                self._log.info("memory cleaned in %d places", cleaned)

    def _receipt(self, number: int, kind: str, outcome: CommandOutcome, generation: int) -> SignedReceipt:
        return sign_receipt(
            self._identity,
            account=self._account,
            number=number,
            kind=kind,
            generation=generation,
            at=self._clock.now_ms(),
            outcome="reseal" if outcome.reseal else "refused" if outcome.error else "applied",
            data=_without_floats(outcome.report.to_json()),
            error=_without_floats(outcome.error.as_json()) if outcome.error else None,
        )

    def _refuse(self, row: MailboxRow, reason: str) -> None:
        self._log.warning("command %d rejected: %s", row.number, reason)
        if reason == "reseal":
            outcome = CommandOutcome(reseal=True)
        else:
            cls = ConflictError if reason in _OUT_OF_TIME else BadInputError
            outcome = CommandOutcome(
                error=cls(
                    f"the robot rejects this command: {reason.replace('_', ' ')}",
                    hint="see 'fortctl robot logs'; send the command again",
                    details={"reason": reason},
                )
            )
        self._answer(row, self._receipt(row.number, "", outcome, self._vault.cursor().generation))

    def _answer(self, row: MailboxRow, receipt: SignedReceipt) -> None:
        self._mailbox.finish(self._account, row.number, receipt.body, receipt.signature, self._clock.now_ms())


def _cursor(number: int, generation: int, receipt: SignedReceipt, anchors: Mapping[str, HomeAnchor]) -> CommandCursor:
    signature = base64.b64encode(receipt.signature).decode()
    return CommandCursor(number, generation, receipt.body.decode(), signature, dict(anchors))


# Parts of the status that an operator on another host reads, and the mailbox's administrator too.
_PUBLISHED_STATUS = (
    *("state", "reason", "since", "cycles", "orders_open", "realised_profit", "profit_asset", "last_event_at"),
    *("price", "config", "hold", "key_loss", "key_swap", "key_drift"),
    *("orders_in_doubt", "waits", "exchange_answered_at", "market_moved_at"),
)


def _voided() -> CommandOutcome:
    """Return the outcome of a command whose key a panic destroyed."""
    return CommandOutcome(
        error=ConflictError("the robot was latched while the key was on its way: the key was destroyed")
    )


def _card_now(card: KeyCard, key: KeyFacts) -> KeyCard:
    """Return the key's card, updated with what the exchange answered since the key was verified."""
    card = _with_rights(card, key)
    if key.lost_at is not None:
        return replace(card, status="rejected", rejected_since=card.rejected_since or key.lost_at)
    if card.status == "rejected" and key.books_agree:
        return replace(card, status="ok", rejected_since=None)
    return card


def _with_rights(card: KeyCard, key: KeyFacts) -> KeyCard:
    """Return the card with what the exchange last said that the key may do, and how that differs from the accepted."""
    if key.rights is None:
        return replace(card, drift=key.drift)
    return replace(
        card,
        drift=key.drift,
        permissions=key.rights.permissions,
        ip_restricted=key.rights.ip_restricted,
        expires_at=key.rights.expires_at,
        permissions_at=key.rights_at,
    )


_PUBLISHED_KEY = ("key_swap", "key_drift", "key_rights", "books")


def _published_state(status: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(
        status.get(name) for name in ("state", "reason", "cycles", "orders_open", "config", "hold", *_PUBLISHED_KEY)
    )


def _advance_anchor(anchors: Mapping[str, HomeAnchor], command: Command) -> Mapping[str, HomeAnchor]:
    """Return the operators' anchors after a command; none ever moves back."""
    anchor = decode_anchor(command.arguments)
    before = anchors.get(command.operator_id, HomeAnchor(0, 0, ""))
    if anchor is None or anchor.generation < before.generation or anchor.audit_number < before.audit_number:
        return anchors
    return {**anchors, command.operator_id: anchor}


def _without_floats(value: Any) -> Any:
    """Return a JSON value that has one canonical writing: fractions become text."""
    if isinstance(value, float):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _without_floats(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_floats(item) for item in value]
    return value
