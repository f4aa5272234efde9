"""What a robot does when it is commanded: one method a command, each leading to a :class:`CommandOutcome`.

Nothing is written here: the desk writes what changed together with the command's number, as one.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from fortctl.errors import BadInputError, ConflictError, FortctlError, InternalError, KeyPolicyError, NotFoundError
from fortctl.keys.fingerprint import fingerprint
from fortctl.keys.generation import generate_pending_key
from fortctl.keys.policy import expect_fit, refuse_foreign
from fortctl.keys.serialization import key_card_to_json, verdict_to_json
from fortctl.keys.verification import DeletionStatus
from fortctl.mailbox.crypto import identity_id, low_order
from fortctl.mailbox.messages import Command
from fortctl.model import KeyCard, KeyPair, KeyType, KeyVerdict, PendingPair, Role
from fortctl.ports import Clock, ExchangeError
from fortctl.robot.control.robot_vault import InstalledKey, RobotVault
from fortctl.secret import Secret


@dataclass(frozen=True)
class CommandOutcome:
    """What a command leads to: the receipt's data, and what must be written with its number.

    Attributes:
        data: JSON facts for the receipt.
        install: a key that takes the place of the present one.
        refresh: the present key with a newer card.
        settings: new settings.
        overlap: the key is swapped in between two orders, the former one being good still.
        retire: the key that ``install`` replaces, kept for the proof of its death alone.
        forget: the key is to be destroyed, and one that retires.
        forget_retiring: the key that retires is to be destroyed.
        pending: a key pair that waits for its API key from now on.
        operators: who may command from now on.
        reseal: the command was sealed to a recipient key that is gone.
        error: the command was refused.
    """

    data: dict[str, Any] = field(default_factory=dict)
    install: InstalledKey | None = None
    overlap: bool = False
    retire: InstalledKey | None = None
    refresh: InstalledKey | None = None
    settings: dict[str, Any] | None = None
    forget: bool = False
    forget_retiring: bool = False
    pending: PendingPair | None = None
    operators: Mapping[str, bytes] | None = None
    reseal: bool = False
    error: FortctlError | None = None

    @property
    def keeps_key(self) -> bool:
        """A key, or a half of one, is written into the vault."""
        return bool(self.install or self.refresh or self.retire or self.pending)

    @property
    def alters_card(self) -> bool:
        return bool(self.install or self.refresh or self.forget or self.pending)


class KeyPort(Protocol):
    """What commands ask of the robot's key (:class:`fortctl.robot.trading.key_manager.KeyManager`)."""

    async def verify_candidate(
        self, pair: KeyPair, *, allow: tuple[str, ...], pinned_uid: int | None
    ) -> KeyVerdict: ...

    async def set(self, pair: KeyPair, *, uid: int, allow: Collection[str] = ()) -> None: ...

    async def swap(self, pair: KeyPair, *, uid: int, allow: Collection[str] = ()) -> None: ...

    async def check_lost(self) -> bool: ...

    async def check_deleted(self, old: KeyPair) -> DeletionStatus: ...

    async def forget(self) -> None: ...


class RobotPort(Protocol):
    """What commands ask of the robot (:class:`fortctl.robot.trading.runner.Runner`)."""

    @property
    def keys(self) -> KeyPort: ...

    async def start(self, *, by_person: bool) -> None: ...

    async def drain(self) -> None: ...

    async def stop_now(self, *, cancel_orders: bool) -> dict[str, Any]: ...

    async def resume(self) -> None: ...

    async def configure(self, settings: Any) -> list[tuple[str, str]] | None: ...

    def status(self) -> dict[str, Any]: ...

    def open_orders(self) -> list[dict[str, Any]]: ...


class CommandHandlers:
    """The commands that a robot obeys.

    Args:
        box: the robot's vault; it is read here, and written by the desk.
        runner: the robot.
        parse_settings: makes the runner's settings of a ``configure`` command's arguments.
        clock: the clock.
    """

    def __init__(
        self, box: RobotVault, runner: RobotPort, parse_settings: Callable[[Mapping[str, Any]], Any], clock: Clock
    ) -> None:
        self._box = box
        self._runner = runner
        self._parse_settings = parse_settings
        self._clock = clock
        self.handlers: dict[str, Callable[[Command], Awaitable[CommandOutcome]]] = {
            "deliver-key": self._deliver_key,
            "generate-key": self._generate_key,
            "pair-operator": self._pair_operator,
            "unpair-operator": self._unpair_operator,
            "hello": self._hello,
            "forget-key": self._forget_key,
            "verify-key": self._verify_key,
            "prove-retired": self._prove_retired,
            "show-pending": self._show_pending,
            "start": self._start,
            "drain": self._drain,
            "stop": self._stop,
            "resume": self._resume,
            "configure": self._configure,
        }

    async def _deliver_key(self, command: Command) -> CommandOutcome:
        args = command.args
        pair = self._delivered(args)
        installed = self._box.key()
        # What the operator accepted of the key before holds for the one that a rotation puts in its place.
        accepted = installed.allow if installed is not None and args.get("retire") else ()
        allow = tuple(sorted({*args["allow"], *accepted}))
        pinned = installed.uid if installed else args.get("uid")
        verdict = expect_fit(await self._runner.keys.verify_candidate(pair, allow=allow, pinned_uid=pinned), Role.ROBOT)
        if verdict.uid is None:
            raise InternalError("the exchange did not say whose key it is")
        refuse_foreign(verdict.uid, Role.ROBOT, {int(uid): name for uid, name in args.get("elsewhere", {}).items()})
        card = _new_card(pair, verdict, base64.b64decode(args["fingerprint_key"]), self._clock.now_ms())
        same = installed is not None and installed.pair == pair and installed.allow == allow
        data = {
            "unchanged": same,
            "key": key_card_to_json(card),
            "uid": verdict.uid,
            "restrictions": dict(verdict.restrictions.__dict__) if verdict.restrictions else None,
            "warnings": _warnings(verdict),
        }
        retire = installed if args.get("retire") else None
        if retire is not None and retire.card.fingerprint == card.fingerprint:
            raise KeyPolicyError(
                "this is the key that the robot has already: a rotation needs a new one",
                hint="create a second key on Binance's API management page",
                details={"role": "robot", "reason": "same_key"},
            )
        if args.get("look"):
            return CommandOutcome(data)
        install = InstalledKey(pair, verdict.uid, allow, card)
        return CommandOutcome(data, install=install, overlap=bool(args.get("overlap")), retire=retire)

    def _delivered(self, args: Mapping[str, Any]) -> KeyPair:
        name, api_key = str(args["name"]), Secret(args["api_key"])
        if "pending" not in args:
            return KeyPair(name, KeyType(args["type"]), api_key, Secret(args["secret"]))
        made = self._box.pending()
        if made is None or args["pending"] not in (None, made.id):
            raise NotFoundError(
                "no key pair of this robot waits for its API key",
                hint="'fortctl keys generate --role robot' makes one",
            )
        return KeyPair(name, made.type, api_key, Secret(made.secret.reveal_bytes()))

    async def _generate_key(self, command: Command) -> CommandOutcome:
        made = generate_pending_key(KeyType(command.args["type"]), self._clock.now_ms())
        return CommandOutcome({"public_key": made.public, "pending_id": made.id}, pending=made)

    async def _show_pending(self, command: Command) -> CommandOutcome:
        made = self._box.pending()
        if made is None:
            return CommandOutcome({"pending_id": None})
        return CommandOutcome({"pending_id": made.id, "public_key": made.public})

    async def _forget_key(self, command: Command) -> CommandOutcome:
        installed = self._box.key()
        if installed is None:
            raise NotFoundError("the robot has no key", hint="see 'fortctl keys list'")
        orders = self._runner.open_orders()
        await self._runner.keys.forget()
        return CommandOutcome({"fingerprint": installed.card.fingerprint, "orders_left": orders}, forget=True)

    async def _verify_key(self, command: Command) -> CommandOutcome:
        installed = self._box.key()
        if installed is None:
            raise NotFoundError("the robot has no key", hint="'fortctl keys add --role robot' gives it one")
        verdict = await self._runner.keys.verify_candidate(
            installed.pair, allow=installed.allow, pinned_uid=installed.uid
        )
        if verdict.accepted:
            # Where it was lost, it is good again.
            with contextlib.suppress(FortctlError, ExchangeError):
                await self._runner.keys.check_lost()
        card = updated_card(installed.card, verdict, self._clock.now_ms())
        data = {"result": verdict_to_json(Role.ROBOT, verdict), "warnings": _warnings(verdict)}
        return CommandOutcome(data, refresh=replace(installed, card=card))

    async def _prove_retired(self, command: Command) -> CommandOutcome:
        """Ask whether the key that a rotation replaced is dead; its copy stays until that is journaled (``drop``)."""
        retired = self._box.retiring()
        if retired is None:
            return CommandOutcome({"state": "none", "fingerprint": ""})
        shown = {"fingerprint": retired.card.fingerprint, "name": retired.card.name}
        if command.args.get("drop"):
            # Its death is journaled, or the operator ended the rotation.
            return CommandOutcome({"state": "dropped", **shown}, forget_retiring=True)
        death = await self._runner.keys.check_deleted(retired.pair)
        code = death.fault.code if death.fault is not None else None
        return CommandOutcome({"state": death.state, "code": code, **shown})

    async def _hello(self, command: Command) -> CommandOutcome:
        return CommandOutcome({"state": str(self._runner.status()["state"])})

    async def _pair_operator(self, command: Command) -> CommandOutcome:
        public = base64.b64decode(command.args["public"])
        if identity_id(public) != command.args["operator_id"] or low_order(public):
            raise BadInputError("the operator's name is not that of its identity")
        operators = {**self._box.operators(), str(command.args["operator_id"]): public}
        return CommandOutcome({"operators": sorted(operators)}, operators=operators)

    async def _unpair_operator(self, command: Command) -> CommandOutcome:
        operators = self._box.operators()
        gone = str(command.args["operator_id"])
        if gone not in operators:
            raise NotFoundError(f"this robot knows no operator {gone}", details={"operators": sorted(operators)})
        if gone == command.operator_id:
            raise ConflictError("an operator does not revoke itself")
        kept = {name: public for name, public in operators.items() if name != gone}
        return CommandOutcome({"operators": sorted(kept)}, operators=kept)

    async def _start(self, command: Command) -> CommandOutcome:
        await self._runner.start(by_person=True)
        return CommandOutcome()

    async def _drain(self, command: Command) -> CommandOutcome:
        await self._runner.drain()
        return CommandOutcome()

    async def _stop(self, command: Command) -> CommandOutcome:
        return CommandOutcome(await self._runner.stop_now(cancel_orders=bool(command.args.get("cancel_orders"))))

    async def _resume(self, command: Command) -> CommandOutcome:
        await self._runner.resume()
        return CommandOutcome()

    async def _configure(self, command: Command) -> CommandOutcome:
        warnings = await self._runner.configure(self._parse_settings(command.args))
        data = {"changed": warnings is not None, "warnings": [list(pair) for pair in warnings or ()]}
        return CommandOutcome(data, settings=dict(command.args))


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
        ip_restricted=restrictions.ip_restricted,
        created_at=restrictions.created_at or card.created_at,
        expires_at=restrictions.trading_expires_at,
    )


def _warnings(verdict: KeyVerdict) -> list[list[str]]:
    return [list(pair) for pair in verdict.warnings]
