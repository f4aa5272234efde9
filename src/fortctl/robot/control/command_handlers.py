"""What a robot does for each kind of command: one method a kind, each returning a :class:`CommandOutcome`.

Nothing is written here: the command processor writes what changed together with the command's number, as one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from fortctl.errors import BadInputError, ConflictError, FortctlError, InternalError, KeyPolicyError, NotFoundError
from fortctl.keys.fingerprint import fingerprint
from fortctl.keys.generation import generate_pending_key
from fortctl.keys.policy import refuse_key_of_other_account, require_acceptable_key
from fortctl.keys.serialization import KeyCheck
from fortctl.keys.verification import DeletionStatus
from fortctl.mailbox.crypto import identity_id, low_order
from fortctl.mailbox.messages import Command
from fortctl.mailbox.payloads import (
    CommandPayload,
    ConfigureRobot,
    DeliverKey,
    DrainCycles,
    ForgetKey,
    GenerateKey,
    Hello,
    PairOperator,
    ProveRetired,
    ResumeTrading,
    ShowPending,
    StartTrading,
    StopTrading,
    UnpairOperator,
    VerifyKey,
)
from fortctl.mailbox.receipts import (
    CommandReport,
    Greeting,
    KeyChecked,
    KeyDelivered,
    KeyForgotten,
    OperatorsChanged,
    PairWaiting,
    Reconfigured,
    RetiredKey,
    TradingStopped,
)
from fortctl.model import Drift, KeyCard, KeyPair, KeyRestrictions, KeyVerdict, PendingPair, RobotOrder, Role
from fortctl.ports import Clock, ExchangeError
from fortctl.robot.control.robot_vault import InstalledKey, RobotVault
from fortctl.robot.core.status import RobotFacts
from fortctl.secret import Secret


@dataclass(frozen=True)
class CommandOutcome:
    """What a command leads to: the receipt's data, and what must be written with the command's number.

    Attributes:
        report: what the receipt reports.
        install: a key that replaces the present one.
        overlap: the replaced key is still good: swap between two orders.
        retire: the key that ``install`` replaces, kept only to prove it dead.
        refresh: the present key with a newer card.
        settings: new settings.
        forget: destroy the key, and one that retires.
        forget_retiring: destroy the key that retires.
        pending: a new key pair that waits for its API key.
        operators: the public keys of all operators that may command from now on, by id.
        reseal: the command was sealed to a recipient key that is gone.
        error: why the command was refused.
    """

    report: CommandReport = field(default_factory=CommandReport)
    install: InstalledKey | None = None
    overlap: bool = False
    retire: InstalledKey | None = None
    refresh: InstalledKey | None = None
    settings: Mapping[str, Any] | None = None
    forget: bool = False
    forget_retiring: bool = False
    pending: PendingPair | None = None
    operators: Mapping[str, bytes] | None = None
    reseal: bool = False
    error: FortctlError | None = None

    @property
    def keeps_key(self) -> bool:
        """Whether a key, or half of one, is written into the vault."""
        return bool(self.install or self.refresh or self.retire or self.pending)

    @property
    def alters_card(self) -> bool:
        """Whether the robot's published card changes."""
        return bool(self.install or self.refresh or self.forget or self.pending)


class KeyPort(Protocol):
    """What commands ask of the robot's key (:class:`fortctl.robot.trading.key_manager.KeyManager`)."""

    async def verify_candidate(
        self, pair: KeyPair, *, allow: tuple[str, ...], pinned_uid: int | None
    ) -> KeyVerdict: ...

    async def set(
        self, pair: KeyPair, *, uid: int, allow: Collection[str] = (), card: KeyCard | None = None
    ) -> None: ...

    async def swap(
        self, pair: KeyPair, *, uid: int, allow: Collection[str] = (), card: KeyCard | None = None
    ) -> None: ...

    def observe_rights(self, restrictions: KeyRestrictions) -> tuple[Drift, ...]: ...

    async def check_lost(self) -> bool: ...

    async def check_deleted(self, old: KeyPair) -> DeletionStatus: ...

    async def forget(self) -> None: ...


class RobotPort(Protocol):
    """What commands ask of the robot (:class:`fortctl.robot.trading.runner.Runner`)."""

    @property
    def keys(self) -> KeyPort: ...

    async def start(self, *, by_person: bool) -> None: ...

    async def drain(self) -> None: ...

    async def stop_now(self, *, cancel_orders: bool) -> TradingStopped: ...

    async def resume(self) -> None: ...

    async def configure(self, settings: Any) -> list[tuple[str, str]] | None: ...

    def facts(self) -> RobotFacts: ...

    def status(self) -> dict[str, Any]: ...

    def open_orders(self) -> tuple[RobotOrder, ...]: ...


class CommandHandlers:
    """Decides what each command leads to; a :class:`CommandOutcome` says what must be written.

    Args:
        vault: the robot's vault, only read here.
        runner: the robot.
        parse_settings: makes the runner's settings of a ``configure`` command's arguments.
        clock: wall clock.
    """

    def __init__(
        self, vault: RobotVault, runner: RobotPort, parse_settings: Callable[[Mapping[str, Any]], Any], clock: Clock
    ) -> None:
        self._vault = vault
        self._runner = runner
        self._parse_settings = parse_settings
        self._clock = clock

    async def handle(self, command: Command, payload: CommandPayload) -> CommandOutcome:
        """Carry out a command.

        Args:
            command: the opened command.
            payload: its arguments.

        Raises:
            FortctlError: the robot refuses the command.
        """
        match payload:
            case DeliverKey():
                return await self._deliver_key(payload)
            case GenerateKey():
                return self._generate_key(payload)
            case ShowPending():
                return self._show_pending()
            case ForgetKey():
                return await self._forget_key()
            case VerifyKey():
                return await self._verify_key()
            case ProveRetired():
                return await self._prove_retired(payload)
            case PairOperator():
                return self._pair_operator(payload)
            case UnpairOperator():
                return self._unpair_operator(payload, command.operator_id)
            case Hello():
                return CommandOutcome(Greeting(self._runner.facts().state))
            case StartTrading():
                await self._runner.start(by_person=True)
            case DrainCycles():
                await self._runner.drain()
            case StopTrading():
                return CommandOutcome(await self._runner.stop_now(cancel_orders=payload.cancel_orders))
            case ResumeTrading():
                await self._runner.resume()
            case ConfigureRobot():
                return await self._configure(payload)
            case _:
                raise InternalError(f"no handler for the command '{payload.kind}'")
        return CommandOutcome()

    async def _deliver_key(self, delivery: DeliverKey) -> CommandOutcome:
        pair = self._delivered_pair(delivery)
        installed = self._vault.key()
        # A rotation's new key keeps the permissions that the operator accepted for the old one.
        accepted = installed.allow if installed is not None and delivery.retire else ()
        allow = tuple(sorted({*delivery.allow, *accepted}))
        pinned = installed.uid if installed else delivery.uid
        verdict = require_acceptable_key(
            await self._runner.keys.verify_candidate(pair, allow=allow, pinned_uid=pinned), Role.ROBOT
        )
        if verdict.uid is None:
            raise InternalError("the exchange did not say whose key it is")
        refuse_key_of_other_account(verdict.uid, Role.ROBOT, delivery.elsewhere)
        card = _new_card(pair, verdict, delivery.fingerprint_key.reveal_bytes(), self._clock.now_ms())
        same = installed is not None and installed.pair == pair and installed.allow == allow
        report = KeyDelivered(card, verdict.uid, verdict.restrictions, verdict.warnings, unchanged=same)
        retire = installed if delivery.retire else None
        if retire is not None and retire.card.fingerprint == card.fingerprint:
            raise KeyPolicyError(
                "this is the key that the robot has already: a rotation needs a new one",
                hint="create a second key on Binance's API management page",
                details={"role": "robot", "reason": "same_key"},
            )
        if delivery.check_only:
            return CommandOutcome(report)
        install = InstalledKey(pair, verdict.uid, allow, card)
        return CommandOutcome(report, install=install, overlap=delivery.overlap, retire=retire)

    def _delivered_pair(self, delivery: DeliverKey) -> KeyPair:
        """Return the delivered key; where the robot made the pair itself, with the private half out of its vault."""
        if delivery.secret is not None and delivery.type is not None:
            return KeyPair(delivery.name, delivery.type, delivery.api_key, delivery.secret)
        made = self._vault.pending()
        if made is None or delivery.pending_id not in (None, made.id):
            raise NotFoundError(
                "no key pair of this robot waits for its API key",
                hint="'fortctl keys generate --role robot' makes one",
            )
        return KeyPair(delivery.name, made.type, delivery.api_key, Secret(made.secret.reveal_bytes()))

    def _generate_key(self, payload: GenerateKey) -> CommandOutcome:
        made = generate_pending_key(payload.type, self._clock.now_ms())
        return CommandOutcome(PairWaiting(made.id, made.public), pending=made)

    def _show_pending(self) -> CommandOutcome:
        made = self._vault.pending()
        return CommandOutcome(PairWaiting(made.id, made.public) if made is not None else PairWaiting())

    async def _forget_key(self) -> CommandOutcome:
        installed = self._vault.key()
        if installed is None:
            raise NotFoundError("the robot has no key", hint="see 'fortctl keys list'")
        orders = self._runner.open_orders()
        await self._runner.keys.forget()
        return CommandOutcome(KeyForgotten(installed.card.fingerprint, orders), forget=True)

    async def _verify_key(self) -> CommandOutcome:
        installed = self._vault.key()
        if installed is None:
            raise NotFoundError("the robot has no key", hint="'fortctl keys add --role robot' gives it one")
        verdict = await self._runner.keys.verify_candidate(
            installed.pair, allow=installed.allow, pinned_uid=installed.uid
        )
        if verdict.accepted:
            # A key that was lost is good again.
            with contextlib.suppress(FortctlError, ExchangeError):
                await self._runner.keys.check_lost()
        drift: tuple[Drift, ...] = ()
        if verdict.accepted and verdict.restrictions is not None:
            drift = self._runner.keys.observe_rights(verdict.restrictions)
        card = updated_card(installed.card, verdict, self._clock.now_ms())
        drifted = tuple(("KEY_DRIFT", f"robot key: {one.detail}") for one in drift)
        report = KeyChecked(KeyCheck.of(Role.ROBOT, verdict, drift), (*verdict.warnings, *drifted))
        return CommandOutcome(report, refresh=replace(installed, card=card))

    async def _prove_retired(self, payload: ProveRetired) -> CommandOutcome:
        """Ask whether the key that a rotation replaced is dead, or destroy its copy (``drop``)."""
        retired = self._vault.retiring()
        if retired is None:
            return CommandOutcome(RetiredKey("none"))
        named = (retired.card.fingerprint, retired.card.name)
        if payload.drop:
            return CommandOutcome(RetiredKey("dropped", *named), forget_retiring=True)
        deletion = await self._runner.keys.check_deleted(retired.pair)
        code = deletion.fault.code if deletion.fault is not None else None
        return CommandOutcome(RetiredKey(deletion.state, *named, code))

    def _pair_operator(self, payload: PairOperator) -> CommandOutcome:
        if identity_id(payload.public) != payload.operator_id or low_order(payload.public):
            raise BadInputError("the operator's name is not that of its identity")
        operators = {**self._vault.operators(), payload.operator_id: payload.public}
        return CommandOutcome(OperatorsChanged(tuple(sorted(operators))), operators=operators)

    def _unpair_operator(self, payload: UnpairOperator, sender: str) -> CommandOutcome:
        operators, revoked = self._vault.operators(), payload.operator_id
        if revoked not in operators:
            raise NotFoundError(f"this robot knows no operator {revoked}", details={"operators": sorted(operators)})
        if revoked == sender:
            raise ConflictError("an operator cannot revoke itself")
        kept = {name: public for name, public in operators.items() if name != revoked}
        return CommandOutcome(OperatorsChanged(tuple(sorted(kept))), operators=kept)

    async def _configure(self, payload: ConfigureRobot) -> CommandOutcome:
        warnings = await self._runner.configure(self._parse_settings(payload.settings))
        report = Reconfigured(warnings is not None, tuple(warnings or ()))
        return CommandOutcome(report, settings=payload.settings)


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
    return updated_card(card, verdict, now)


def updated_card(card: KeyCard, verdict: KeyVerdict, now: int) -> KeyCard:
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
        permissions_at=now,
        ip_restricted=restrictions.ip_restricted,
        created_at=restrictions.created_at or card.created_at,
        expires_at=restrictions.trading_expires_at,
    )
