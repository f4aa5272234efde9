"""A command processor with a real vault and a real mailbox: what it applies, what it refuses, what it remembers."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fortctl.errors import ConflictError
from fortctl.mailbox.crypto import Identity, verify
from fortctl.mailbox.home_anchor import HomeAnchor
from fortctl.mailbox.messages import Command, read_receipt, seal_command
from fortctl.mailbox.payloads import (
    CommandPayload,
    ConfigureRobot,
    DeliverKey,
    DrainCycles,
    ForgetKey,
    GenerateKey,
    Hello,
    StartTrading,
    encode_payload,
)
from fortctl.mailbox.sqlite import SqliteMailbox
from fortctl.model import KeyCard, KeyPair, KeyType, KeyVerdict, Role
from fortctl.ports import MailboxRow
from fortctl.robot.control.command_processor import CommandProcessor
from fortctl.robot.control.robot_vault import CommandCursor, InstalledKey, RobotVault
from fortctl.robot.core.status import KeyFacts, RobotFacts
from fortctl.robot.storage.latch import LatchFile
from fortctl.secret import Secret
from fortctl.vault.file import VaultFile
from fortctl.vault.slots import KeyFile
from support.clock import FakeClock

pytestmark = pytest.mark.usefixtures("no_scrubbing")

KEY = DeliverKey("robot-1", Secret("K" * 64), Secret("F" * 32), KeyType.HMAC, Secret("S" * 64))

HOME = HomeAnchor(1, 1, "x")


class RobotKeys:
    """The robot's key manager, and what it was asked; the exchange accepts every key as account 7's."""

    def __init__(self, did: list[str]) -> None:
        self.did = did

    async def verify_candidate(self, pair: KeyPair, *, allow: tuple[str, ...], pinned_uid: int | None) -> KeyVerdict:
        return KeyVerdict(True, "ok", uid=7)

    async def set(self, pair: KeyPair, *, uid: int, allow: Any = (), card: Any = None) -> None:
        self.did.append(f"set {pair.name} of {uid}{' with ' + ', '.join(allow) if allow else ''}")

    async def swap(self, pair: KeyPair, *, uid: int, allow: Any = (), card: Any = None) -> None:
        self.did.append(f"swap {pair.name} of {uid}")

    async def forget(self) -> None:
        self.did.append("forget")


class Runner:
    """The robot, and what it was asked."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.keys = RobotKeys(self.did)
        self.document: dict[str, Any] = {"state": "stopped", "price": 1.5, "pid": 77}
        self.key = KeyFacts()
        self.fails: Exception | None = None

    async def start(self, *, by_person: bool) -> None:
        if self.fails is not None:
            raise self.fails
        self.did.append(f"start {by_person}")

    async def drain(self) -> None:
        self.did.append("drain")

    async def configure(self, settings: Any) -> list[tuple[str, str]] | None:
        self.did.append(f"configure {settings}")
        return None

    def facts(self) -> RobotFacts:
        return RobotFacts(self.document["state"], key=self.key)

    def status(self) -> dict[str, Any]:
        return self.document

    def open_orders(self) -> list[dict[str, Any]]:
        return []


class Desk:
    """One robot's desk and two operators."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock(1_000_000)
        self.operators = [Identity.generate(), Identity.generate()]
        vault = VaultFile(folder / "vault.toml", folder / "erasure").create([KeyFile(folder / "vault.key")])
        known = {one.id: one.public_bytes() for one in self.operators}
        self.box = RobotVault.provision("a", "paper", vault, self.clock, known)
        self.robot = self.box.identity()
        self.mailbox = SqliteMailbox(folder / "mailbox.sqlite")
        self.latch = LatchFile(folder)
        self.runner = Runner()
        self.restart()

    def restart(self) -> None:
        log = logging.getLogger("test.desk")
        self.desk = CommandProcessor(
            self.box,
            self.mailbox,
            self.runner,
            dict,
            self.clock,
            self.latch,
            log,  # type: ignore[arg-type]
        )

    def send(
        self,
        payload: CommandPayload,
        number: int,
        *,
        generation: int = 1,
        anchor: HomeAnchor = HOME,
        operator: int = 0,
        valid_s: float = 900.0,
        arguments: Secret | None = None,
    ) -> MailboxRow:
        sender, recipient, now = self.operators[operator], self.box.recipient(), self.clock.now_ms()
        command = Command(
            *("a", self.robot.id, sender.id, number, payload.kind, recipient.key_id, generation),
            *(now, now + int(valid_s * 1000), arguments or encode_payload(payload, anchor)),
        )
        row = seal_command(command, sender, recipient.public_bytes())
        self.mailbox.append(row)
        return row

    def receipt(self, number: int) -> dict[str, Any]:
        row = self.mailbox.row("a", number)
        assert row is not None and row.result is not None and row.result_signature is not None
        return read_receipt(row.result, row.result_signature, self.robot.public_bytes())

    def reason(self, number: int) -> str:
        receipt = self.receipt(number)
        assert receipt["outcome"] == "refused"
        return str(receipt["error"]["details"]["reason"])

    def card(self) -> dict[str, Any]:
        card = self.mailbox.card("a")
        assert card is not None and verify(self.robot.public_bytes(), "card", *card)
        body: dict[str, Any] = json.loads(card[0])
        return body


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def installed(name: str = "robot-0") -> InstalledKey:
    pair = KeyPair(name, KeyType.HMAC, Secret("A" * 64), Secret("B" * 64))
    return InstalledKey(pair, 7, (), KeyCard(Role.ROBOT, name, KeyType.HMAC, "0" * 12, "AAAA", "ok"))


# -- which command is applied ------------------------------------------------------------------------------------------


async def test_commands_are_applied_in_order_and_counted(desk: Desk) -> None:
    desk.send(StartTrading(), 1)
    desk.send(DrainCycles(), 2)
    assert await desk.desk.poll() == 2 and desk.runner.did == ["start True", "drain"]
    assert [desk.receipt(number)["outcome"] for number in (1, 2)] == ["applied", "applied"]
    assert desk.box.cursor().number == 2 and await desk.desk.poll() == 0


@pytest.mark.parametrize(("generation", "accepted"), [(4, False), (5, False), (6, True)])
async def test_a_key_of_a_generation_that_the_robot_has_had_is_refused(
    desk: Desk, generation: int, accepted: bool
) -> None:
    """One of an equal generation was accepted: an old delivery, sent again, brings an old key back."""
    desk.box.write(CommandCursor(3, 5))
    desk.send(KEY, 4, generation=generation)
    await desk.desk.poll()
    if accepted:
        assert desk.receipt(4)["outcome"] == "applied" and desk.runner.did == ["set robot-1 of 7"]
        assert desk.box.cursor().generation == generation == desk.receipt(4)["generation"]
    else:
        assert desk.reason(4) == "older_generation" and desk.box.key() is None and desk.runner.did == []
        assert (desk.box.cursor().number, desk.box.cursor().generation) == (3, 5)


async def test_only_a_delivery_needs_a_new_generation_or_begins_one(desk: Desk) -> None:
    desk.box.write(CommandCursor(3, 5))
    for number, generation in ((4, 5), (5, 1), (6, 9)):
        desk.send(Hello(), number, generation=generation)
    await desk.desk.poll()
    assert [desk.receipt(number)["outcome"] for number in (4, 5, 6)] == ["applied"] * 3
    assert desk.box.cursor().generation == 5 == desk.receipt(6)["generation"]


async def test_a_delivery_that_another_one_follows_is_not_tried(desk: Desk) -> None:
    desk.send(KEY, 1)
    desk.send(replace(KEY, name="robot-2"), 2)
    await desk.desk.poll()
    assert desk.reason(1) == "superseded" and desk.runner.did == ["set robot-2 of 7"]


async def test_a_delivery_that_no_genuine_one_follows_is_applied(desk: Desk) -> None:
    """Anybody who can write the mailbox could keep every key from the robot."""
    desk.send(KEY, 1)
    desk.send(Hello(), 2)
    desk.operators[1] = Identity.generate()
    desk.send(replace(KEY, name="robot-3"), 3, operator=1)
    await desk.desk.poll()
    assert desk.receipt(1)["outcome"] == "applied" and desk.runner.did == ["set robot-1 of 7"]


async def test_an_expired_a_strangers_and_a_repeated_command_are_refused(desk: Desk) -> None:
    desk.send(StartTrading(), 1, valid_s=5.0)
    desk.clock.advance(6.0)
    desk.operators[1] = Identity.generate()
    desk.send(StartTrading(), 2, operator=1)
    await desk.desk.poll()
    assert (desk.reason(1), desk.reason(2)) == ("expired", "unpaired") and desk.runner.did == []
    assert desk.receipt(1)["error"]["code"] == "CONFLICT" and desk.receipt(2)["error"]["code"] == "BAD_INPUT"
    desk.box.write(CommandCursor(8, 0))
    desk.send(StartTrading(), 7)
    await desk.desk.poll()
    assert desk.reason(7) == "replayed"


async def test_a_command_to_a_recipient_key_that_is_gone_is_to_be_sealed_anew(desk: Desk) -> None:
    desk.send(StartTrading(), 1)
    desk.box.write(CommandCursor(), key=installed(), recipient=type(desk.box.recipient()).generate())
    await desk.desk.poll()
    assert desk.receipt(1)["outcome"] == "reseal" and desk.runner.did == []


async def test_a_command_that_was_applied_before_a_crash_is_only_answered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_answer: object) -> None:
        raise KeyboardInterrupt

    desk.send(StartTrading(), 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(desk.mailbox, "finish", crash)
        await desk.desk.poll()
    assert desk.runner.did == ["start True"] and desk.box.cursor().number == 1
    desk.restart()
    assert await desk.desk.poll() == 1 and desk.runner.did == ["start True"]
    receipt = desk.receipt(1)
    assert (receipt["outcome"], receipt["kind"], receipt["number"]) == ("applied", "start", 1)


async def test_a_refusal_is_the_robots_own_error_and_a_failure_is_an_internal_one(desk: Desk) -> None:
    desk.runner.fails = ConflictError("it holds", hint="resume it")
    desk.send(StartTrading(), 1)
    await desk.desk.poll()
    error = desk.receipt(1)["error"]
    assert (error["code"], error["message"], error["hint"]) == ("CONFLICT", "it holds", "resume it")
    desk.runner.fails = ZeroDivisionError("a secret might be here")
    desk.send(StartTrading(), 2)
    await desk.desk.poll()
    error = desk.receipt(2)["error"]
    assert error["code"] == "INTERNAL" and "ZeroDivisionError" in error["message"] and "secret" not in error["message"]
    assert desk.box.cursor().number == 2, "neither is tried again"


# -- what is written with it -------------------------------------------------------------------------------------------


async def test_a_key_is_replaced_swapped_kept_for_its_proof_and_destroyed(desk: Desk) -> None:
    desk.box.write(CommandCursor(1, 1), key=installed())
    before = desk.box.recipient().key_id
    desk.send(replace(KEY, overlap=True, retire=True), 2, generation=2)
    await desk.desk.poll()
    key, retiring = desk.box.key(), desk.box.retiring()
    assert key is not None and key.pair.name == "robot-1" and desk.runner.did == ["swap robot-1 of 7"]
    assert retiring is not None and retiring.pair.name == "robot-0" and desk.box.recipient().key_id != before
    assert desk.card()["key"]["name"] == "robot-1"
    desk.send(ForgetKey(), 3)
    await desk.desk.poll()
    assert desk.box.key() is None and desk.box.retiring() is None and desk.card()["key"] is None
    assert desk.runner.did[1:] == ["forget"]


async def test_a_key_is_used_with_the_rights_that_the_operator_accepted(desk: Desk) -> None:
    desk.send(replace(KEY, allow=("margin",)), 1)
    await desk.desk.poll()
    assert desk.runner.did == ["set robot-1 of 7 with margin"]


async def test_a_pair_that_waits_for_its_key_is_on_the_card(desk: Desk) -> None:
    desk.desk.publish()
    assert desk.card()["pending"] is None
    desk.send(GenerateKey(KeyType.ED25519), 1)
    await desk.desk.poll()
    pending = desk.box.pending()
    assert pending is not None and desk.card()["pending"] == "ed25519"
    assert desk.receipt(1)["data"]["pending_id"] == pending.id


async def test_settings_are_kept(desk: Desk) -> None:
    desk.send(ConfigureRobot({"symbol": "BTCUSDT", "levels": 3}), 1)
    await desk.desk.poll()
    assert desk.box.settings() == {"symbol": "BTCUSDT", "levels": 3}


async def test_the_memory_is_cleaned_before_a_receipt_says_that_the_key_is_destroyed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    class Scrubber:
        def __init__(self, gone: list[Secret], kept: list[Secret]) -> None:
            self.gone = [one.reveal() for one in gone]

        async def clean(self) -> tuple[int, int]:
            order.append("cleaned" if "B" * 64 in self.gone else "nothing")
            return 1, 1

    def finish(*answer: Any) -> None:
        order.append("answered")

    desk.box.write(CommandCursor(1, 1), key=installed())
    monkeypatch.setattr("fortctl.robot.control.command_processor.SecretScrubber", Scrubber)
    monkeypatch.setattr(desk.mailbox, "finish", finish)
    desk.send(ForgetKey(), 2)
    await desk.desk.poll()
    assert order[:2] == ["cleaned", "answered"]
    order.clear()
    desk.box.write(desk.box.cursor())
    desk.send(Hello(), 3)
    await desk.desk.poll()
    assert "nothing" not in order, "where no key left the vault, no memory is searched"


# -- what it remembers of the operators' homes -------------------------------------------------------------------------


async def test_what_is_remembered_of_a_home_never_goes_back(desk: Desk) -> None:
    """With the old state accepted, a home that somebody put back goes unnoticed."""
    first = HomeAnchor(5, 9, "nine")
    desk.send(Hello(), 1, anchor=first)
    await desk.desk.poll()
    me, other = desk.operators[0].id, desk.operators[1].id
    assert desk.box.cursor().anchors == {me: first} and desk.card()["sites"] == {me: [5, 9, "nine"]}
    for number, older in enumerate((HomeAnchor(4, 10, "ten"), HomeAnchor(6, 8, "eight"), HomeAnchor(4, 8, "e")), 2):
        desk.send(Hello(), number, anchor=older)
        await desk.desk.poll()
        assert desk.receipt(number)["outcome"] == "applied" and desk.box.cursor().anchors == {me: first}
    desk.send(Hello(), 5, anchor=HomeAnchor(1, 1, "one"), operator=1)
    desk.send(Hello(), 6, anchor=HomeAnchor(5, 10, "ten"))
    await desk.desk.poll()
    assert desk.box.cursor().anchors == {me: HomeAnchor(5, 10, "ten"), other: HomeAnchor(1, 1, "one")}
    desk.send(Hello(), 7, anchor=HomeAnchor(6, 10, "ten"))
    await desk.desk.poll()
    assert desk.box.cursor().anchors[me] == HomeAnchor(6, 10, "ten")
    assert desk.card()["sites"] == {me: [6, 10, "ten"], other: [1, 1, "one"]}
    desk.send(Hello(), 8, arguments=Secret("{}"))
    await desk.desk.poll()
    assert desk.receipt(8)["outcome"] == "applied" and desk.box.cursor().anchors[me] == HomeAnchor(6, 10, "ten")


# -- the card ----------------------------------------------------------------------------------------------------------


async def test_the_card_is_published_anew_only_where_the_state_changed(desk: Desk) -> None:
    desk.desk.publish()
    first = desk.card()
    assert first["state"] == "stopped" and first["at"] == 1_000_000 and first["number"] == 0
    assert first["status"] == {"state": "stopped", "price": "1.5"}, "no float, and nothing of this host"
    recipient = desk.box.recipient()
    assert first["recipient"] == {"id": recipient.key_id, "public": base64.b64encode(recipient.public_bytes()).decode()}
    desk.clock.advance(5.0)
    desk.runner.document["price"] = 2.5
    desk.desk.publish_if_changed()
    assert desk.card() == first
    desk.runner.document["state"] = "running"
    desk.desk.publish_if_changed()
    assert desk.card()["state"] == "running" and desk.card()["at"] == 1_005_000
    for name in ("reason", "cycles", "orders_open", "config", "hold", "key_swap", "books"):
        desk.clock.advance(1.0)
        desk.runner.document[name] = "another"
        desk.desk.publish_if_changed()
        assert desk.card()["at"] == desk.clock.ms, name
    for name in (*("since", "realised_profit", "profit_asset", "last_event_at", "key_loss"), "nothing known"):
        desk.runner.document[name] = None
    desk.desk.publish()
    assert set(desk.card()["status"]) == {
        *("state", "reason", "since", "cycles", "orders_open", "realised_profit", "profit_asset", "last_event_at"),
        *("price", "config", "hold", "key_loss", "key_swap"),
    }


async def test_a_key_that_the_exchange_refuses_and_accepts_again_is_so_on_the_card(desk: Desk) -> None:
    desk.box.write(CommandCursor(1, 1), key=installed())
    desk.desk.publish()
    assert desk.card()["key"]["status"] == "ok"
    desk.runner.key = KeyFacts(lost_at=1_767_323_045_000)
    desk.desk.publish()
    key = desk.card()["key"]
    assert (key["status"], key["rejected_since"]) == ("rejected", 1_767_323_045_000)
    desk.runner.key = KeyFacts()
    lost = installed()
    lost = replace(lost, card=replace(lost.card, status="rejected", rejected_since=1_000))
    desk.box.write(CommandCursor(1, 1), key=lost)
    desk.desk.publish()
    assert desk.card()["key"]["status"] == "rejected", "nobody has compared the books since"
    desk.runner.key = KeyFacts(books_agree=True)
    desk.desk.publish()
    assert desk.card()["key"]["status"] == "ok" and desk.card()["key"]["rejected_since"] is None
