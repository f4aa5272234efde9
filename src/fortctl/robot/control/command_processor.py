"""The robot's desk: takes signed commands out of the mailbox, applies each at most once, answers with signed receipts.

What steers money is believed from the robot's vault alone: who may command (pairing), which numbers were applied, the
settings. A command and what it changes in the vault are one vault write; the receipt of the last one is kept there
too, so that a robot killed between the write and the answer gives the same answer after its restart.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fortctl.canonical_json import canonical_json
from fortctl.errors import BadInputError, ConflictError, FortctlError, InternalError, UsageError
from fortctl.keys.serialization import key_card_to_json
from fortctl.mailbox.crypto import RecipientKey
from fortctl.mailbox.messages import Command, CommandRejectedError, open_command, sign_receipt
from fortctl.model import KeyCard
from fortctl.ports import Clock, LatchGuard, Mailbox, MailboxRow
from fortctl.robot.control.command_handlers import CommandHandlers, CommandOutcome, RobotPort
from fortctl.robot.control.robot_vault import CommandCursor, RobotVault, Site
from fortctl.secret import Secret
from fortctl.system.memory import SecretScrubber
from fortctl.timestamps import parse_rfc3339

DELIVER = "deliver-key"
# Refusals of commands that are right, but come too late or too early.
_OUT_OF_TIME = ("expired", "replayed", "not_yet", "superseded", "older_generation")


class CommandProcessor:
    """Applies commands one after another.

    Args:
        box: the robot's vault.
        mailbox: the command queue.
        runner: the robot.
        parse_settings: makes the runner's settings of a ``configure`` command's arguments.
        clock, latch, log: as named.
    """

    def __init__(
        self,
        box: RobotVault,
        mailbox: Mailbox,
        runner: RobotPort,
        parse_settings: Callable[[Mapping[str, Any]], Any],
        clock: Clock,
        latch: LatchGuard,
        log: logging.Logger,
    ) -> None:
        self._box = box
        self._mailbox = mailbox
        self._runner = runner
        self._clock = clock
        self._latch = latch
        self._log = log
        self._identity = box.identity()
        self._account = box.account
        self._published: tuple[Any, ...] = ()
        self._handlers = CommandHandlers(box, runner, parse_settings, clock).handlers

    def publish_if_changed(self) -> None:
        """Publish the card again when the robot's state is another than it says."""
        if _changing(self._runner.status()) != self._published:
            self.publish()

    def publish(self) -> None:
        """Publish the robot's card, signed."""
        applied, recipient, key = self._box.applied(), self._box.recipient(), self._box.key()
        now, status = self._clock.now_ms(), self._runner.status()
        body = canonical_json(
            {
                "account": self._account,
                "robot_id": self._identity.id,
                "recipient": {"id": recipient.key_id, "public": base64.b64encode(recipient.public_bytes()).decode()},
                "number": applied.number,
                "generation": applied.generation,
                "sites": {name: list(site) for name, site in applied.sites.items()},
                "key": key_card_to_json(_as_it_stands(key.card, status)) if key else None,
                "pending": self._box.pending_type(),
                "state": str(status["state"]),
                "status": _without_floats({name: status[name] for name in _SHOWN if name in status}),
                "at": now,
            }
        )
        self._published = _changing(status)
        self._mailbox.publish_card(self._account, body, self._identity.sign("card", body), now)

    async def poll(self) -> int:
        """Apply every pending command; return how many were answered."""
        rows = self._mailbox.pending(self._account)
        for at, row in enumerate(rows):
            await self._handle(row, rows[at + 1 :])
        return len(rows)

    async def _handle(self, row: MailboxRow, later: Sequence[MailboxRow]) -> None:
        applied = self._box.applied()
        if row.number == applied.number and applied.receipt:
            # Applied before a crash, not yet answered.
            self._finish(row, applied.receipt.encode(), base64.b64decode(applied.signature))
            return
        try:
            command = self._opened(row)
            if command.kind == DELIVER and any(self._delivers(other) for other in later):
                raise CommandRejectedError("superseded")
        except CommandRejectedError as refused:
            self._refuse(row, refused.reason)
            return
        self._mailbox.claim(self._account, row.number, self._clock.now_ms())
        before = self._box.secrets()
        await self._apply(row, command, before)
        await self._forget_leftovers(command, before)

    def _opened(self, row: MailboxRow) -> Command:
        recipient, applied = self._box.recipient(), self._box.applied()
        command = open_command(
            row,
            operators=self._box.operators(),
            recipient=lambda key_id: recipient if key_id == recipient.key_id else None,
            account=self._account,
            robot_id=self._identity.id,
            now_ms=self._clock.now_ms(),
            last_number=applied.number,
        )
        if command.kind == DELIVER and command.generation <= applied.generation:
            raise CommandRejectedError("older_generation")
        return command

    def _delivers(self, row: MailboxRow) -> bool:
        """Return whether a row that waits, too, brings another key: of an operator that is obeyed, not of anybody."""
        try:
            return self._opened(row).kind == DELIVER
        except CommandRejectedError:
            return False

    async def _forget_leftovers(self, command: Command, before: list[Secret]) -> None:
        """Overwrite what this process's memory still holds of keys that left the vault, or never came into it."""
        delivered = [Secret(value) for name, value in command.args.items() if name in ("api_key", "secret") and value]
        kept = self._box.secrets()
        gone = [secret for secret in (*before, *delivered) if secret not in kept]
        before.clear()
        if gone:
            # Trading goes on while it looks. It overwrites in this thread: nothing of the robot's moves meanwhile.
            found, cleaned = await SecretScrubber(gone, kept).clean()
            if found and not cleaned:
                self._log.warning("memory not cleaned: other threads are at work; %d places may hold a key", found)
            else:
                self._log.info("memory cleaned in %d places", cleaned)

    async def _apply(self, row: MailboxRow, command: Command, secrets: list[Secret]) -> None:
        sites = _seen(self._box.applied().sites, command)
        # What the operator's home tells of itself is no argument of the command.
        command = replace(command, args={name: value for name, value in command.args.items() if name != "site"})
        handler = self._handlers.get(command.kind)
        try:
            if handler is None:
                raise UsageError(f"this robot knows no command '{command.kind}'")
            change = await handler(command)
        except FortctlError as error:
            self._log.warning("command %d (%s) refused: %s", command.number, command.kind, error.message)
            change = CommandOutcome(error=error)
        except Exception as error:
            self._log.exception("command %d (%s) failed", command.number, command.kind)
            change = CommandOutcome(
                error=InternalError(f"{type(error).__name__} while the robot applied '{command.kind}'")
            )
        if change.keeps_key and self._latch.is_latched():
            # A panic has destroyed the copies meanwhile: none is written anew.
            change = CommandOutcome(error=_too_late())
        before = self._box.applied()
        generation = command.generation if change.install else before.generation
        body, signature = self._receipt(command.number, command.kind, change, generation)
        applied = CommandCursor(command.number, generation, body.decode(), base64.b64encode(signature).decode(), sites)
        self._box.write(
            applied,
            settings=change.settings,
            key=change.install or change.refresh,
            recipient=RecipientKey.generate() if change.install else None,
            forget=change.forget,
            retiring=change.retire,
            forget_retiring=change.forget_retiring,
            pending=change.pending,
            operators=change.operators,
        )
        if change.keeps_key:
            body, signature = await self._keep(change, command, applied, (body, signature))
        if change.forget:
            # Its receipt says that it is destroyed.
            await self._forget_leftovers(command, secrets)
        if change.alters_card or sites != before.sites:
            self.publish()
        self._finish(row, body, signature)

    async def _keep(
        self, change: CommandOutcome, command: Command, applied: CommandCursor, answer: tuple[bytes, bytes]
    ) -> tuple[bytes, bytes]:
        """Hand the stored key to the runner, unless panic came while it was on its way into the vault."""
        if self._latch.is_latched():
            self._box.write(applied, forget=True)
            return self._receipt(command.number, command.kind, CommandOutcome(error=_too_late()), applied.generation)
        key = change.install
        if key is not None:
            load = self._runner.keys.swap if change.overlap else self._runner.keys.set
            await load(key.pair, uid=key.uid, allow=key.allow)
        return answer

    def _receipt(self, number: int, kind: str, change: CommandOutcome, generation: int) -> tuple[bytes, bytes]:
        return sign_receipt(
            self._identity,
            account=self._account,
            number=number,
            kind=kind,
            generation=generation,
            at=self._clock.now_ms(),
            outcome="reseal" if change.reseal else "refused" if change.error else "applied",
            data=_without_floats(change.data),
            error=_without_floats(change.error.as_json()) if change.error else None,
        )

    def _refuse(self, row: MailboxRow, reason: str) -> None:
        self._log.warning("command %d not obeyed: %s", row.number, reason)
        if reason == "reseal":
            change = CommandOutcome(reseal=True)
        else:
            cls = ConflictError if reason in _OUT_OF_TIME else BadInputError
            change = CommandOutcome(
                error=cls(
                    f"the robot does not obey this command: {reason.replace('_', ' ')}",
                    hint="see 'fortctl robot logs'; send the command again",
                    details={"reason": reason},
                )
            )
        body, signature = self._receipt(row.number, "", change, self._box.applied().generation)
        self._finish(row, body, signature)

    def _finish(self, row: MailboxRow, body: bytes, signature: bytes) -> None:
        self._mailbox.finish(self._account, row.number, body, signature, self._clock.now_ms())


# What an operator on another host sees of the robot; whoever administers the mailbox sees it too.
_SHOWN = (
    *("state", "reason", "since", "cycles", "orders_open", "realised_profit", "profit_asset", "last_event_at"),
    *("price", "config", "hold", "key_loss", "key_swap"),
)


def _too_late() -> ConflictError:
    return ConflictError("the robot was latched while the key was on its way: the key was destroyed")


def _as_it_stands(card: KeyCard, status: Mapping[str, Any]) -> KeyCard:
    """Return the key's card with what the robot has seen of the key since it was looked at."""
    loss = status.get("key_loss")
    if loss is not None:
        return replace(card, status="rejected", rejected_since=card.rejected_since or parse_rfc3339(loss["since"]))
    if card.status == "rejected" and status.get("books") == "agreed":
        return replace(card, status="ok", rejected_since=None)
    return card


def _changing(status: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(
        status.get(name) for name in ("state", "reason", "cycles", "orders_open", "config", "hold", "key_swap", "books")
    )


def _seen(sites: Mapping[str, Site], command: Command) -> dict[str, Site]:
    """Return what the robot remembers of the operators' homes after a command."""
    told: Any = command.args.get("site")
    try:
        generation, number, head = int(told[0]), int(told[1]), str(told[2])
    except (TypeError, ValueError, LookupError):
        return dict(sites)
    before = sites.get(command.operator_id, (0, 0, ""))
    if generation < before[0] or number < before[1]:
        return dict(sites)
    return {**sites, command.operator_id: (generation, number, head)}


def _without_floats(value: Any) -> Any:
    """Return a JSON value that has one canonical writing: fractions become text."""
    if isinstance(value, float):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _without_floats(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_floats(item) for item in value]
    return value
