"""The robot's desk: takes signed commands out of the mailbox, applies each at most once, answers with signed receipts.

What steers money is believed from the robot's vault alone: who may command (pairing), which numbers were applied, the
settings. A command and what it changes in the vault are one vault write; the receipt of the last one is kept there
too, so that a robot killed between the write and the answer gives the same answer after its restart.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from fortctl.errors import BadInput, Conflict, FortctlError, InternalError, NotFound, UsageError
from fortctl.memory import scrub
from fortctl.model import KeyCard, KeyPair, KeyType, KeyVerdict, PendingPair, Role
from fortctl.policy import expect_fit, refuse_foreign
from fortctl.ports import Clock, LatchGuard, Mailbox, MailboxRow
from fortctl.robot.strongbox import Applied, InstalledKey, Site, StrongBox
from fortctl.secret import Secret
from fortctl.vault.command import Command, Refused, open_row, receipt
from fortctl.vault.keygen import make_pending
from fortctl.vault.seal import RecipientKey, canonical_json, fingerprint, identity_id
from fortctl.wire import card_to_wire, verdict_to_wire


@dataclass(frozen=True)
class Change:
    """What a command leads to: the receipt's data, and what must be written with its number.

    Attributes:
        data: JSON facts for the receipt.
        install: a key that takes the place of the present one.
        refresh: the present key with a newer card.
        settings: new settings.
        forget: the key is to be destroyed.
        pending: a key pair that waits for its API key from now on.
        operators: who may command from now on.
        reseal: the command was sealed to a recipient key that is gone.
        error: the command was refused.
    """

    data: dict[str, Any] = field(default_factory=dict)
    install: InstalledKey | None = None
    refresh: InstalledKey | None = None
    settings: dict[str, Any] | None = None
    forget: bool = False
    pending: PendingPair | None = None
    operators: Mapping[str, bytes] | None = None
    reseal: bool = False
    error: FortctlError | None = None

    @property
    def alters_card(self) -> bool:
        return bool(self.install or self.refresh or self.forget)


class Operable(Protocol):
    """What the desk asks of the robot's runner."""

    async def verify_candidate(
        self, pair: KeyPair, *, allow: tuple[str, ...], pinned_uid: int | None
    ) -> KeyVerdict: ...

    async def set_key(self, pair: KeyPair, *, uid: int) -> None: ...

    async def forget_key(self) -> None: ...

    async def start(self, *, by_person: bool) -> None: ...

    async def drain(self) -> None: ...

    async def stop_now(self, *, cancel_orders: bool) -> dict[str, Any]: ...

    async def resume(self) -> None: ...

    async def configure(self, settings: Any) -> None: ...

    def status(self) -> dict[str, Any]: ...

    def open_orders(self) -> list[dict[str, Any]]: ...


class Desk:
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
        box: StrongBox,
        mailbox: Mailbox,
        runner: Operable,
        parse_settings: Callable[[Mapping[str, Any]], Any],
        clock: Clock,
        latch: LatchGuard,
        log: logging.Logger,
    ) -> None:
        self._box = box
        self._mailbox = mailbox
        self._runner = runner
        self._parse_settings = parse_settings
        self._clock = clock
        self._latch = latch
        self._log = log
        self._identity = box.identity()
        self._account = box.account
        self._published: tuple[Any, ...] = ()
        self._handlers: dict[str, Callable[[Command], Awaitable[Change]]] = {
            "deliver-key": self._deliver_key,
            "generate-key": self._generate_key,
            "pair-operator": self._pair_operator,
            "unpair-operator": self._unpair_operator,
            "hello": self._hello,
            "forget-key": self._forget_key,
            "verify-key": self._verify_key,
            "start": self._start,
            "drain": self._drain,
            "stop": self._stop,
            "resume": self._resume,
            "configure": self._configure,
        }

    def publish_news(self) -> None:
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
                "key": card_to_wire(key.card) if key else None,
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
        for row in rows:
            await self._handle(row)
        return len(rows)

    async def _handle(self, row: MailboxRow) -> None:
        applied = self._box.applied()
        if row.number == applied.number and applied.receipt:
            # Applied before a crash, not yet answered.
            self._finish(row, applied.receipt.encode(), base64.b64decode(applied.signature))
            return
        recipient = self._box.recipient()
        try:
            command = open_row(
                row,
                operators=self._box.operators(),
                recipient=lambda key_id: recipient if key_id == recipient.key_id else None,
                account=self._account,
                robot_id=self._identity.id,
                now_ms=self._clock.now_ms(),
                last_number=applied.number,
            )
        except Refused as refused:
            self._refuse(row, refused.reason)
            return
        self._mailbox.claim(self._account, row.number, self._clock.now_ms())
        before = self._box.secrets()
        await self._apply(row, command, before)
        await self._forget_leftovers(command, before)

    async def _forget_leftovers(self, command: Command, before: list[Secret]) -> None:
        """Overwrite what this process's memory still holds of keys that left the vault, or never came into it."""
        delivered = [Secret(value) for name, value in command.args.items() if name in ("api_key", "secret") and value]
        kept = self._box.secrets()
        gone = [secret for secret in (*before, *delivered) if secret not in kept]
        before.clear()
        if gone:
            places = await asyncio.to_thread(scrub, gone, kept)
            self._log.info("memory cleaned in %d places", places)

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
            change = Change(error=error)
        except Exception as error:
            self._log.exception("command %d (%s) failed", command.number, command.kind)
            change = Change(error=InternalError(f"{type(error).__name__} while the robot applied '{command.kind}'"))
        before = self._box.applied()
        generation = command.generation if change.install else before.generation
        body, signature = self._receipt(command.number, command.kind, change, generation)
        applied = Applied(command.number, generation, body.decode(), base64.b64encode(signature).decode(), sites)
        self._box.write(
            applied,
            settings=change.settings,
            key=change.install or change.refresh,
            recipient=RecipientKey.generate() if change.install else None,
            forget=change.forget,
            pending=change.pending,
            operators=change.operators,
        )
        if change.install is not None:
            body, signature = await self._install(change.install, command, applied, (body, signature))
        if change.forget:
            # Its receipt says that it is destroyed.
            await self._forget_leftovers(command, secrets)
        if change.alters_card or sites != before.sites:
            self.publish()
        self._finish(row, body, signature)

    async def _install(
        self, key: InstalledKey, command: Command, applied: Applied, answer: tuple[bytes, bytes]
    ) -> tuple[bytes, bytes]:
        """Hand the stored key to the runner, unless panic came while it was on its way into the vault."""
        if not self._latch.is_latched():
            await self._runner.set_key(key.pair, uid=key.uid)
            return answer
        self._box.write(applied, forget=True)
        error = Conflict("the robot was latched while the key was on its way: the key was destroyed")
        return self._receipt(command.number, command.kind, Change(error=error), applied.generation)

    def _receipt(self, number: int, kind: str, change: Change, generation: int) -> tuple[bytes, bytes]:
        return receipt(
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
            change = Change(reseal=True)
        else:
            cls = Conflict if reason in ("expired", "replayed", "not_yet") else BadInput
            change = Change(
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

    # -- the commands ----------------------------------------------------------------------------------------------

    async def _deliver_key(self, command: Command) -> Change:
        args = command.args
        pair = self._delivered(args)
        allow = tuple(args["allow"])
        installed = self._box.key()
        pinned = installed.uid if installed else args.get("uid")
        verdict = expect_fit(await self._runner.verify_candidate(pair, allow=allow, pinned_uid=pinned), Role.ROBOT)
        if verdict.uid is None:
            raise InternalError("the exchange did not say whose key it is")
        refuse_foreign(verdict.uid, Role.ROBOT, {int(uid): name for uid, name in args.get("elsewhere", {}).items()})
        card = _new_card(pair, verdict, base64.b64decode(args["fingerprint_key"]), self._clock.now_ms())
        data = {
            "key": card_to_wire(card),
            "uid": verdict.uid,
            "restrictions": dict(verdict.restrictions.__dict__) if verdict.restrictions else None,
            "warnings": _warnings(verdict),
        }
        return Change(data, install=InstalledKey(pair, verdict.uid, allow, card))

    def _delivered(self, args: Mapping[str, Any]) -> KeyPair:
        name, api_key = str(args["name"]), Secret(args["api_key"])
        if "pending" not in args:
            return KeyPair(name, KeyType(args["type"]), api_key, Secret(args["secret"]))
        made = self._box.pending()
        if made is None or args["pending"] not in (None, made.id):
            raise NotFound(
                "no key pair of this robot waits for its API key",
                hint="'fortctl keys generate --role robot' makes one",
            )
        return KeyPair(name, made.type, api_key, Secret(made.secret.reveal_bytes()))

    async def _generate_key(self, command: Command) -> Change:
        made = make_pending(KeyType(command.args["type"]), self._clock.now_ms())
        return Change({"public_key": made.public, "pending_id": made.id}, pending=made)

    async def _forget_key(self, command: Command) -> Change:
        installed = self._box.key()
        if installed is None:
            raise NotFound("the robot has no key", hint="see 'fortctl keys list'")
        orders = self._runner.open_orders()
        await self._runner.forget_key()
        return Change({"fingerprint": installed.card.fingerprint, "orders_left": orders}, forget=True)

    async def _verify_key(self, command: Command) -> Change:
        installed = self._box.key()
        if installed is None:
            raise NotFound("the robot has no key", hint="'fortctl keys add --role robot' gives it one")
        verdict = await self._runner.verify_candidate(installed.pair, allow=installed.allow, pinned_uid=installed.uid)
        card = _seen_again(installed.card, verdict, self._clock.now_ms())
        data = {"result": verdict_to_wire(Role.ROBOT, verdict), "warnings": _warnings(verdict)}
        return Change(data, refresh=replace(installed, card=card))

    async def _hello(self, command: Command) -> Change:
        return Change({"state": str(self._runner.status()["state"])})

    async def _pair_operator(self, command: Command) -> Change:
        public = base64.b64decode(command.args["public"])
        if identity_id(public) != command.args["operator_id"]:
            raise BadInput("the operator's name is not that of its identity")
        operators = {**self._box.operators(), str(command.args["operator_id"]): public}
        return Change({"operators": sorted(operators)}, operators=operators)

    async def _unpair_operator(self, command: Command) -> Change:
        operators = self._box.operators()
        gone = str(command.args["operator_id"])
        if gone not in operators:
            raise NotFound(f"this robot knows no operator {gone}", details={"operators": sorted(operators)})
        if gone == command.operator_id:
            raise Conflict("an operator does not revoke itself")
        kept = {name: public for name, public in operators.items() if name != gone}
        return Change({"operators": sorted(kept)}, operators=kept)

    async def _start(self, command: Command) -> Change:
        await self._runner.start(by_person=True)
        return Change()

    async def _drain(self, command: Command) -> Change:
        await self._runner.drain()
        return Change()

    async def _stop(self, command: Command) -> Change:
        return Change(await self._runner.stop_now(cancel_orders=bool(command.args.get("cancel_orders"))))

    async def _resume(self, command: Command) -> Change:
        await self._runner.resume()
        return Change()

    async def _configure(self, command: Command) -> Change:
        await self._runner.configure(self._parse_settings(command.args))
        return Change(settings=dict(command.args))


# What an operator on another host sees of the robot; whoever administers the mailbox sees it too.
_SHOWN = (
    *("state", "reason", "since", "cycles", "orders_open", "realised_profit", "profit_asset", "last_event_at"),
    *("price", "config", "hold", "key_loss"),
)


def _changing(status: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(status.get(name) for name in ("state", "reason", "cycles", "orders_open", "config", "hold"))


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


def _new_card(pair: KeyPair, verdict: KeyVerdict, fingerprint_key: bytes, now: int) -> KeyCard:
    card = KeyCard(
        role=Role.ROBOT,
        name=pair.name,
        type=pair.type,
        fingerprint=fingerprint(pair.api_key, fingerprint_key),
        tail=pair.api_key.reveal()[-4:],
        status="ok",
        held_by=("robot",),
        created_at=now,
    )
    return _seen_again(card, verdict, now)


def _seen_again(card: KeyCard, verdict: KeyVerdict, now: int) -> KeyCard:
    """Return the card as it stands after the exchange was asked about the key."""
    if not verdict.accepted:
        return replace(card, status="rejected", rejected_since=card.rejected_since or now)
    card = replace(card, status="ok", verified_at=now, rejected_since=None)
    restrictions = verdict.restrictions
    if restrictions is None:
        return card
    return replace(
        card,
        permissions=restrictions.permissions(),
        ip_restricted=restrictions.ip_restricted,
        created_at=restrictions.created_at or card.created_at,
        expires_at=restrictions.trading_expires_at,
    )


def _warnings(verdict: KeyVerdict) -> list[list[str]]:
    return [list(pair) for pair in (verdict.policy.warnings if verdict.policy else ())]


def _without_floats(value: Any) -> Any:
    """Return a JSON value that has one canonical writing: fractions become text."""
    if isinstance(value, float):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _without_floats(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_floats(item) for item in value]
    return value
