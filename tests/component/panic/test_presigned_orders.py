"""Pre-signed panic orders, against a real mailbox and a real vault: what stops a robot, and what a thief can do."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fortctl.canonical_json import canonical_json
from fortctl.errors import RobotUnreachableError, VaultDamagedError
from fortctl.keys.generation import generate_pending_key
from fortctl.mailbox.crypto import Identity
from fortctl.mailbox.home_anchor import HomeAnchor
from fortctl.mailbox.messages import Command, CommandRejectedError, open_command
from fortctl.mailbox.panic_order import PanicOrderFile, check_order, read_answer, sign_orders
from fortctl.mailbox.payloads import CommandPayload, DeliverKey, GenerateKey, VerifyKey, encode_payload
from fortctl.mailbox.shared import open_shared
from fortctl.mailbox.sqlite import SqliteMailbox
from fortctl.model import HaltReport, KeyCard, KeyPair, KeyType, Role
from fortctl.ports import MailboxRow
from fortctl.robot.control.command_handlers import CommandOutcome
from fortctl.robot.control.command_processor import CommandProcessor
from fortctl.robot.control.panic_listener import NOT_YET, PanicListener, orders_of
from fortctl.robot.control.robot_vault import CommandCursor, InstalledKey, RobotVault
from fortctl.robot.core.hold_reasons import HoldReason
from fortctl.robot.core.status import RobotFacts
from fortctl.robot.process.daemon import DaemonEvents
from fortctl.robot.storage.latch import LatchFile
from fortctl.secret import Secret
from fortctl.services.panic.halt import HaltResult
from fortctl.services.panic.remote_halt import RemoteHalt
from fortctl.vault import erasure
from fortctl.vault.file import VaultFile
from fortctl.vault.slots import KeyFile
from support.clock import FakeClock
from support.robot_daemon import NoCommands, NoPanic, robot_daemon


class Runner:
    """What the robot was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.silent: HoldReason | None = None

    def suspend_trading(self, reason: HoldReason | None) -> None:
        self.silent = reason

    def place_nothing_more(self) -> None:
        self.told.append("place nothing more")

    async def halt(self, *, cancel_orders: bool) -> HaltReport:
        raise AssertionError("the process halts it")


class World:
    """A robot's vault, mailbox and latch; two operators; the process around them."""

    def __init__(self, folder: Path, deadman_s: float | None = None, *, any_thread: bool = False) -> None:
        self.folder, self.clock, self.runner = folder, FakeClock(1_000_000), Runner()
        self.operators = [Identity.generate(), Identity.generate()]
        known = {one.id: one.public_bytes() for one in self.operators}
        file = VaultFile(folder / "vault.toml", folder / "erasure")
        vault = file.create([KeyFile(folder / "vault.key")])
        self.box = RobotVault.provision("a", "paper", vault, self.clock, known)
        self.robot = self.box.identity()
        self.mailbox = SqliteMailbox(folder / "mailbox.sqlite", any_thread=any_thread)
        self.latch = LatchFile(folder)
        self.deadman_s = deadman_s
        self.destroyed = 0
        self.halts: list[bool] = []
        self.fails: set[str] = set()
        self.start()

    def start(self) -> None:
        self.runner = Runner()
        self.listener = PanicListener(
            self.box,
            self.mailbox,
            self.runner,
            self.latch,
            self._destroy,
            self._halt,
            self.clock,
            logging.getLogger("test"),
            self.deadman_s,
        )

    def _destroy(self) -> tuple[str, ...]:
        self._break("destroy")
        self.destroyed += 1
        return ("key",)

    async def _halt(self, cancel_orders: bool) -> HaltReport:
        self.halts.append(cancel_orders)
        self._break("halt")
        return HaltReport(("one",))

    def _break(self, name: str) -> None:
        if name in self.fails:
            raise OSError(28, "No space left on device")

    def sign(self, operator: int = 0) -> PanicOrderFile:
        return sign_orders(self.operators[operator], "a", self.robot.id, self.robot.public_bytes(), "sqlite:///nowhere")

    def post(self, order: PanicOrderFile, *, cancel_orders: bool = True) -> None:
        form = order.form(cancel_orders)
        self.mailbox.post_panic("a", order.nonce, form.body, form.signature)

    def answer(self, order: PanicOrderFile) -> dict[str, Any]:
        row = self.mailbox.panic("a", order.nonce)
        assert row is not None and row.answer is not None and row.answer_signature is not None
        facts = read_answer(row.answer, row.answer_signature, order)
        assert facts is not None
        return facts


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("cancel_orders", [True, False])
async def test_an_order_stops_the_robot_once(world: World, cancel_orders: bool) -> None:
    order = PanicOrderFile.from_bytes(world.sign().as_bytes())
    assert not await world.listener.poll()
    world.post(order, cancel_orders=cancel_orders)
    assert await world.listener.poll()
    assert world.runner.told == ["place nothing more"] and world.halts == [cancel_orders] and world.destroyed == 1
    assert world.latch.is_latched() and world.latch.read()["cancel_orders"] is cancel_orders
    answer = world.answer(order)
    assert answer["outcome"] == "halted" and answer["data"]["cancelled"] == 1 and answer["data"]["left"] == 0
    # The mailbox's administrator takes the answer away: the order was used all the same.
    world.mailbox._connection.execute("UPDATE panic SET answer = NULL, answer_signature = NULL")
    world.latch.clear()
    world.start()
    assert not await world.listener.poll()
    assert world.answer(order)["data"] == {"reason": "replayed"}


@pytest.mark.parametrize("broken", [{"destroy"}, {"halt"}, {"destroy", "halt"}], ids=["destroy", "halt", "both"])
async def test_whatever_fails_the_rest_is_done(world: World, broken: set[str]) -> None:
    order = world.sign()
    world.fails = broken
    world.post(order)
    assert await world.listener.poll()
    assert world.latch.is_latched() and world.halts == [True]
    data = world.answer(order)["data"]
    assert data["destroyed"] is ("destroy" not in broken) and (data["left"] is None) is ("halt" in broken)


async def test_a_latch_that_cannot_be_written_still_halts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_facts: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(world.latch, "set", fail)
    order = world.sign()
    world.post(order)
    assert await world.listener.poll() and world.halts == [True] and world.destroyed == 1
    assert world.answer(order)["data"]["latched"] is False


async def test_a_clear_never_voids_another_operators_unused_order(world: World) -> None:
    mine, theirs = world.sign(0), world.sign(1)
    world.post(mine)
    assert await world.listener.poll()
    world.latch.clear()
    world.start()
    assert not await world.listener.poll()
    world.post(theirs)
    assert await world.listener.poll() and world.answer(theirs)["outcome"] == "halted"


async def test_two_orders_of_one_operator_are_obeyed_once(world: World) -> None:
    """Whoever panics twice while the robot is away must not find it latched again after the clear."""
    orders = [world.sign(), world.sign()]
    for order in orders:
        world.post(order)
    assert await world.listener.poll() and world.halts == [True]
    assert {world.answer(order)["outcome"] for order in orders} == {"halted"}
    world.latch.clear()
    world.start()
    assert not await world.listener.poll()


class Shelf:
    """The operator's side: the order that a panic takes, and whether another could be signed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.at_hand = world.sign()
        self.signed: list[PanicOrderFile] = []
        # What the latch of this panic says.
        self.noted: set[str] = set()

    def order(self) -> PanicOrderFile:
        return self.at_hand

    def sign(self) -> PanicOrderFile:
        self.signed.append(self.world.sign())
        return self.signed[-1]

    def mark_used(self, order: PanicOrderFile) -> None:
        self.at_hand = replace(order, used=True)
        self.noted.add(order.nonce)

    def was_sent(self, order: PanicOrderFile) -> bool:
        return order.nonce in self.noted

    async def panic(self, began_ms: int) -> HaltResult:
        how: dict[str, Any] = {"cancel_orders": True, "timeout_s": 0.2, "began_ms": began_ms}
        return await RemoteHalt(self, lambda url: self.world.mailbox, self.world.clock, **how).run()


async def test_a_second_panic_finds_the_first_ones_answer(tmp_path: Path) -> None:
    world = World(tmp_path, any_thread=True)
    shelf, begun = Shelf(world), world.clock.now_ms()
    assert not (await shelf.panic(begun)).reached, "the robot is away"
    assert not (await shelf.panic(begun)).reached and shelf.signed == [], "the order waits still: no other is signed"
    assert len(world.mailbox.open_panics("a")) == 1
    assert await world.listener.poll()
    for _again in range(2):
        halted = await shelf.panic(begun)
        assert halted.reached and halted.left_nothing and shelf.signed == []
    # The robot's clock was behind: its answer to what this panic has sent is an answer to this panic all the same.
    assert (await shelf.panic(begun + 60_000)).reached and shelf.signed == []
    # Cleared, and later another panic: that answer tells nothing of now.
    world.latch.clear()
    shelf.noted.clear()
    world.start()
    world.clock.advance(10.0)
    assert not (await shelf.panic(world.clock.now_ms())).reached and len(shelf.signed) == 1


async def test_a_clear_voids_what_the_same_operator_has_sent_beside_it(world: World) -> None:
    mine, again, theirs = world.sign(0), world.sign(0), world.sign(1)
    world.post(mine)
    assert await world.listener.poll()
    for one in (again, theirs):
        world.post(one)
    facts = world.latch.read()
    assert orders_of(world.mailbox.open_panics("a"), facts["operator"]) == [again.nonce]
    assert orders_of(world.mailbox.open_panics("a"), "0" * 16) == []


def test_a_mailbox_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Its folder is not mounted: an order in a new file there would wait for nobody."""
    with pytest.raises(RobotUnreachableError):
        open_shared(f"sqlite://{tmp_path / 'mailbox.sqlite'}", busy_timeout_ms=100)
    assert list(tmp_path.iterdir()) == []


# -- the thief ---------------------------------------------------------------------------------------------------------


def changed(body: bytes, **fields: Any) -> bytes:
    return canonical_json({**json.loads(body), **fields})


async def test_a_thief_of_the_order_can_only_stop_the_robot(world: World) -> None:
    """Whoever steals the file, and may write the mailbox, makes nothing of it but the one order that it is."""
    order = world.sign()
    stolen = order.cancel
    forged = {
        "another account": changed(stolen.body, account="b"),
        "another robot": changed(stolen.body, robot_id="0" * 16),
        "another operator": changed(stolen.body, operator_id=world.operators[1].id),
        "a stranger": changed(stolen.body, operator_id="0" * 16),
        "a fresh nonce": changed(stolen.body, nonce="0" * 32),
        "orders kept": changed(stolen.body, cancel_orders=False),
        "more in it": canonical_json({**json.loads(stolen.body), "kind": "start"}),
        "not canonical": stolen.body + b" ",
        "no JSON": b"[" * 2000,
    }
    for number, body in enumerate(forged.values()):
        world.mailbox.post_panic("a", f"{number}", body, stolen.signature)
    assert not await world.listener.poll()
    assert world.halts == [] and not world.latch.is_latched() and world.mailbox.open_panics("a") == ()
    # Nor does it pass for a command, an operator's identity or a card.
    for envelope in (stolen.body, changed(stolen.body, kind="start")):
        row = MailboxRow("a", 1, envelope, b"", stolen.signature)
        with pytest.raises(CommandRejectedError):
            open_command(
                row,
                operators=world.box.operators(),
                recipient=lambda _id: world.box.recipient(),
                account="a",
                robot_id=world.robot.id,
                now_ms=world.clock.now_ms(),
                last_number=0,
            )
    text = order.as_bytes().decode()
    for operator in world.operators:
        for secret in (operator.private().reveal_bytes(), world.robot.private().reveal_bytes()):
            assert secret.hex() not in text and secret not in order.as_bytes()


def test_an_order_of_another_account_or_robot_is_refused(world: World) -> None:
    for known, reason in (
        ({"account": "b"}, "other_account"),
        ({"robot_id": "0" * 16}, "other_robot"),
        ({"operators": {}}, "unpaired"),
        ({"used": {world.sign().nonce}}, None),
    ):
        order = world.sign()
        facts: dict[str, Any] = {
            "operators": world.box.operators(),
            "account": "a",
            "robot_id": world.robot.id,
            "used": (),
            **known,
        }
        if reason is None:
            assert check_order(order.keep.body, order.keep.signature, **facts).cancel_orders is False
            continue
        with pytest.raises(CommandRejectedError, match=reason):
            check_order(order.cancel.body, order.cancel.signature, **facts)


def test_an_answer_of_another_robot_is_none(world: World) -> None:
    order = world.sign()
    impostor = replace(order, robot_public=Identity.generate().public_bytes())
    assert read_answer(b"{}", b"no signature", order) is None
    world.mailbox.post_panic("a", order.nonce, order.cancel.body, order.cancel.signature)
    world.listener._answer(world.mailbox.open_panics("a"), "halted", {})
    row = world.mailbox.panic("a", order.nonce)
    assert row is not None and row.answer is not None and row.answer_signature is not None
    assert read_answer(row.answer, row.answer_signature, impostor) is None
    assert read_answer(row.answer, row.answer_signature, replace(order, nonce="0" * 32)) is None


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b'{"v":2}', b'{"v":1,"cancel":1,"keep":2}', b"[" * 100_000])
def test_a_damaged_order_file_is_told(damage: bytes) -> None:
    with pytest.raises(VaultDamagedError):
        PanicOrderFile.from_bytes(damage)


@pytest.mark.parametrize("name", ["account", "robot_id", "mailbox", "nonce"])
def test_a_field_of_an_order_that_is_no_text_is_damage(world: World, name: str) -> None:
    with pytest.raises(VaultDamagedError):
        PanicOrderFile.from_bytes(changed(world.sign().as_bytes(), **{name: 5}))


# -- the deadman -------------------------------------------------------------------------------------------------------


async def test_a_robot_that_hears_nothing_falls_silent_and_goes_on_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, deadman_s=300.0)
    assert world.runner.silent == NOT_YET, "an order may lie there from before it came up"
    assert not await world.listener.poll() and world.runner.silent is None

    def gone(_account: str) -> None:
        raise RobotUnreachableError("the mailbox's database cannot be used")

    with monkeypatch.context() as cut:
        cut.setattr(world.mailbox, "open_panics", gone)
        for _ in range(3):
            world.clock.advance(100.0)
            with pytest.raises(RobotUnreachableError):
                await world.listener.poll()
            world.listener.check_deadman()
            assert world.runner.silent is None
        world.clock.advance(1.0)
        world.listener.check_deadman()
        assert world.runner.silent is not None and world.runner.silent.code == "DEADMAN"
    assert not await world.listener.poll() and world.runner.silent is None


async def test_the_deadman_never_lifts_over_a_waiting_order(tmp_path: Path) -> None:
    world = World(tmp_path, deadman_s=300.0)
    world.post(world.sign())
    assert await world.listener.poll()
    assert world.runner.silent == NOT_YET and world.halts == [True]


async def test_a_robot_without_a_deadman_never_falls_silent(world: World) -> None:
    world.clock.advance(1e6)
    world.listener.check_deadman()
    assert world.runner.silent is None


class WaitingCommands(NoCommands):
    """A command is applied, and waits for the exchange."""

    def __init__(self) -> None:
        self.applying = asyncio.Event()

    async def poll(self) -> int:
        self.applying.set()
        return await asyncio.Event().wait()


class LaterOrder(NoPanic):
    """A panic order is found once a command is being applied."""

    def __init__(self, applying: asyncio.Event) -> None:
        self.applying, self.found = applying, False

    async def poll(self) -> bool:
        self.found = self.applying.is_set()
        return self.found


async def test_a_command_that_waits_for_the_exchange_keeps_no_order_waiting() -> None:
    commands, events = WaitingCommands(), DaemonEvents()
    panic = LaterOrder(commands.applying)
    daemon = robot_daemon(commands=commands, panic=panic, events=events)
    looking = asyncio.ensure_future(daemon._watch_for_panic())
    reading = asyncio.ensure_future(daemon._apply_commands())
    await commands.applying.wait()
    events.wake()
    await looking
    assert panic.found and not reading.done()
    reading.cancel()


# -- a copy that is written while a panic destroys ---------------------------------------------------------------------


@pytest.mark.parametrize("when", ["while it was asked about", "while it was written"])
@pytest.mark.parametrize(
    "payload",
    [VerifyKey(), DeliverKey("robot-1", Secret("K" * 64), Secret("F" * 32)), GenerateKey(KeyType.ED25519)],
    ids=lambda payload: payload.kind,
)
async def test_a_copy_that_a_panic_destroyed_is_not_written_anew(
    world: World, monkeypatch: pytest.MonkeyPatch, when: str, payload: CommandPayload
) -> None:
    """The exchange tells of the key after the panic; what was asked about and what was delivered look alike here."""
    kind = payload.kind
    pair = KeyPair("robot-1", KeyType.HMAC, Secret("K" * 64), Secret("S" * 64))
    card = KeyCard(Role.ROBOT, "robot-1", KeyType.HMAC, "0" * 12, "KKKK", "ok")
    key = InstalledKey(pair, 1, (), card)
    world.box.write(CommandCursor(1, 1), key=key)
    runner = SimpleNamespace(status=lambda: {"state": "stopped"}, facts=lambda: RobotFacts("stopped"))
    desk = CommandProcessor(world.box, world.mailbox, runner, dict, world.clock, world.latch, logging.getLogger("test"))  # type: ignore[arg-type]

    def panic() -> None:
        world.latch.set({})
        erasure.destroy(world.folder / "erasure", "a")

    async def handle(_command: object, _payload: object) -> CommandOutcome:
        if when == "while it was asked about":
            panic()
        if kind == "generate-key":
            return CommandOutcome(pending=generate_pending_key(KeyType.ED25519, 0))
        return CommandOutcome(refresh=key) if kind == "verify-key" else CommandOutcome(install=key)

    write = world.box.write

    def written(*facts: Any, **more: Any) -> None:
        if when == "while it was written" and (more.get("key") or more.get("pending")) is not None:
            panic()
        write(*facts, **more)

    monkeypatch.setattr(world.box, "write", written)
    monkeypatch.setattr(desk, "_handlers", SimpleNamespace(handle=handle))
    row = MailboxRow("a", 2, b"{}", b"sealed", b"signature")
    world.mailbox.append(row)
    command = Command(
        "a",
        world.robot.id,
        world.operators[0].id,
        2,
        kind,
        "",
        2,
        0,
        None,
        encode_payload(payload, HomeAnchor(0, 0, "")),
    )
    await desk._apply(row, command, [])
    assert not {name for name in erasure.names(world.folder / "erasure") if "/key-" in name or "/pending-" in name}
    assert world.box.key() is None and world.box.pending() is None
    answered = world.mailbox.row("a", 2)
    assert answered is not None and b"latched" in (answered.result or b"")
