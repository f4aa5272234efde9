"""The site's line to its robot, with real vaults and a real mailbox: old homes, lost robots, fresh recipient keys."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fortctl.errors import ConflictError, FortctlError, RobotTimeoutError, RobotUnreachableError, VaultDamagedError
from fortctl.mailbox.crypto import RecipientKey
from fortctl.mailbox.home_anchor import HomeAnchor
from fortctl.mailbox.messages import Command, seal_command
from fortctl.mailbox.payloads import (
    CommandPayload,
    ConfigureRobot,
    DrainCycles,
    Hello,
    ResumeTrading,
    StartTrading,
    StopTrading,
    VerifyKey,
    encode_payload,
)
from fortctl.mailbox.sqlite import SqliteMailbox
from fortctl.model import Role
from fortctl.services.robot.client import NUMBER_LIMIT, RobotClient
from fortctl.vault.file import VaultFile
from fortctl.vault.slots import KeyFile
from support.rotation_world import GRID, Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    one = Stage(tmp_path / "home")
    yield one
    one.end()


def state_of(stage: Stage) -> str:
    assert stage.robot.runner is not None
    return stage.robot.runner.state


def mailbox_of(stage: Stage) -> SqliteMailbox:
    return SqliteMailbox(stage.home.mailbox)


# -- a home that was put back ------------------------------------------------------------------------------------------


@pytest.fixture
def older(stage: Stage) -> RobotClient:
    """The client of a home whose vault is an older copy than the one that the robot knows of."""
    kept = stage.home.vault.with_name("vault.kept")
    shutil.copy(stage.home.vault, kept)
    VaultFile(stage.home.vault, stage.home.erasure).unlock([KeyFile(stage.home.keyfile)]).advance(0)
    stage.tools().client.execute(Hello())
    shutil.copy(kept, stage.home.vault)
    return stage.tools().client


@pytest.mark.parametrize(
    "payload",
    [StartTrading(), ResumeTrading(), ConfigureRobot(GRID), VerifyKey(), Hello()],
    ids=lambda payload: payload.kind,
)
def test_an_old_home_may_not_command_its_robot(stage: Stage, older: RobotClient, payload: CommandPayload) -> None:
    before = mailbox_of(stage).last_number("default")
    with pytest.raises(VaultDamagedError, match="older copy") as caught:
        older.execute(payload)
    details = caught.value.details
    assert details["reason"] == "rolled_back" and details["seen_by_robot"] == details["generation"] + 1
    assert f"--above {details['seen_by_robot']}" in caught.value.hint
    assert mailbox_of(stage).last_number("default") == before, "it was not even sent"


@pytest.mark.parametrize("payload", [DrainCycles(), StopTrading(cancel_orders=False)], ids=lambda one: one.kind)
def test_an_old_home_may_stop_its_robot(stage: Stage, older: RobotClient, payload: CommandPayload) -> None:
    """A drain of an old home was refused: nobody could end the trading but by a panic."""
    assert state_of(stage) == "running"
    older.execute(payload)
    assert state_of(stage) in ("draining", "stopped")


def test_a_home_that_the_robot_knows_so_or_older_commands_it(stage: Stage) -> None:
    client = stage.tools().client
    client.execute(Hello())
    card = client.card()
    assert card is not None
    (known,) = card.sites.values()
    assert known.generation == stage.tools().vault.generation
    VaultFile(stage.home.vault, stage.home.erasure).unlock([KeyFile(stage.home.keyfile)]).advance(0)
    again = stage.tools().client
    again.execute(Hello())
    head = stage.tools().client.anchor()
    assert head is not None and head[0] > known.audit_number and head[1] != known.audit_hash


def test_a_damaged_audit_log_keeps_a_start_and_no_stop(stage: Stage) -> None:
    stage.home.audit.write_text("no JSON\n")
    with pytest.raises(FortctlError):
        stage.tools().client.execute(StartTrading())
    stage.tools().client.execute(StopTrading(cancel_orders=False))
    assert state_of(stage) == "stopped"


# -- waiting for the receipt -------------------------------------------------------------------------------------------


def test_a_receipt_has_the_commands_number_its_data_and_how_long_it_took(stage: Stage) -> None:
    client = stage.tools().client
    sent = client.send(Hello())
    assert mailbox_of(stage).last_number("default") == sent.number
    receipt = client.await_receipt(sent)
    assert (receipt.number, receipt.data) == (sent.number, {"state": "running"}) and receipt.elapsed_ms >= 0


def test_the_robots_refusal_is_raised_as_its_own_error(stage: Stage) -> None:
    client = stage.tools().client
    client.execute(StopTrading(cancel_orders=False))
    stage.robot_stops()
    with pytest.raises(FortctlError) as caught:
        client.execute(ConfigureRobot({**GRID, "levels": -1}))
    assert caught.value.exit_code != 1


def test_a_robot_that_does_not_answer_is_waited_for_so_long_and_no_longer(stage: Stage) -> None:
    client = stage.tools().client
    stage.clock.waiting = lambda: None
    stage.robot.wake = lambda: True  # type: ignore[method-assign]
    began = stage.clock.ms
    with pytest.raises(RobotTimeoutError) as caught:
        client.execute(Hello(), wait_s=3.0)
    assert 3_000 <= stage.clock.ms - began <= 3_100
    assert caught.value.details == {"number": mailbox_of(stage).last_number("default"), "queued": True}
    assert not client.wait_until_idle(1.0) and stage.clock.ms - began <= 4_200
    # It comes back, and works through what is queued.
    stage.clock.waiting = stage.robot.move
    assert client.wait_until_idle(1.0)


def test_a_robot_that_died_over_a_command_is_brought_up_and_answers(stage: Stage) -> None:
    client = stage.tools().client
    stage.robot.wake = lambda: True  # type: ignore[method-assign]
    sent = client.send(Hello())
    stage.robot.kill()
    began = stage.clock.ms
    assert client.await_receipt(sent).data["state"] in ("running", "reconciling", "stopped", "verifying")
    assert stage.robot.owner() is not None and 500 <= stage.clock.ms - began <= 700


def test_a_command_to_a_recipient_key_that_is_gone_is_sealed_anew(stage: Stage) -> None:
    tools = stage.tools()
    stage.robot.wake = lambda: True  # type: ignore[method-assign]
    stage.clock.waiting = lambda: None
    sent = tools.client.send(DrainCycles())
    box = stage.robot.box
    box.write(box.cursor(), key=box.key(), recipient=RecipientKey.generate())
    stage.robot._thread.submit(stage.robot._desk.publish).result()
    del stage.robot.__dict__["wake"]
    stage.clock.waiting = stage.robot.move
    receipt = tools.client.await_receipt(sent)
    assert receipt.number == sent.number + 1 and state_of(stage) in ("draining", "stopped")


def test_the_highest_generation_that_the_robot_has_shown_is_kept(stage: Stage) -> None:
    tools = stage.tools()
    pin, card = tools.vault.robot(), tools.client.card()
    assert pin is not None and card is not None and card.generation == 1 == pin.generation
    asyncio.run(tools.keys.add_robot_key(stage.make_key("robot-2", Role.ROBOT), allow=(), replacing=True, force=False))
    pin = stage.tools().vault.robot()
    assert pin is not None and pin.generation == 2
    stage.tools().client.execute(Hello())
    pin = stage.tools().vault.robot()
    assert pin is not None and pin.generation == 2


# -- what keeps a command from being sent ------------------------------------------------------------------------------


def test_a_latched_robot_is_not_brought_up_and_gets_no_command(stage: Stage) -> None:
    client = stage.tools().client
    stage.latch.latched = True
    before = mailbox_of(stage).last_number("default")
    assert client.latched
    for attempt in (lambda: client.execute(Hello()), client.ensure_running, client.require_unlatched):
        with pytest.raises(ConflictError, match="latched after a panic"):
            attempt()
    assert mailbox_of(stage).last_number("default") == before


def test_a_robot_that_is_down_is_brought_up_first(stage: Stage) -> None:
    stage.robot.kill()
    assert stage.tools().client.execute(Hello()).data["state"] and stage.robot.owner() is not None


def test_a_robot_without_a_card_was_never_introduced(stage: Stage) -> None:
    mailbox = mailbox_of(stage)
    mailbox._connection.execute("DELETE FROM card")
    with pytest.raises(RobotUnreachableError, match="has not introduced itself"):
        stage.tools().client.execute(Hello())


@pytest.mark.parametrize(("last", "accepted"), [(NUMBER_LIMIT - 1, True), (NUMBER_LIMIT, False)])
def test_an_absurd_number_in_the_mailbox_is_damage(stage: Stage, last: int, accepted: bool) -> None:
    box, now = stage.robot.box, stage.clock.now_ms()
    recipient, arguments = box.recipient(), encode_payload(Hello(), HomeAnchor(0, 0, ""))
    command = Command(
        *("default", box.identity().id, stage.operator.id, last, "hello"),
        *(recipient.key_id, 1, now, now + 1, arguments),
    )
    stage.robot.wake = lambda: True  # type: ignore[method-assign]
    mailbox_of(stage).append(seal_command(command, stage.operator, recipient.public_bytes()))
    client = stage.tools().client
    if accepted:
        assert client.send(Hello()).number == NUMBER_LIMIT
    else:
        with pytest.raises(VaultDamagedError, match="absurd"):
            client.send(Hello())


def test_a_number_that_another_command_takes_is_not_taken_twice(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    append = SqliteMailbox.append

    def beaten(mailbox: SqliteMailbox, row: object) -> None:
        if len(taken) < beaten_times:
            taken.append(row.number)  # type: ignore[attr-defined]
            raise ConflictError("the number is taken")
        append(mailbox, row)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteMailbox, "append", beaten)
    beaten_times = 7
    assert stage.tools().client.execute(Hello()).data and len(taken) == 7
    taken.clear()
    beaten_times = 8
    with pytest.raises(ConflictError, match="too busy"):
        stage.tools().client.execute(Hello())


def test_a_receipt_of_another_command_is_damage(stage: Stage) -> None:
    client = stage.tools().client
    first = client.execute(Hello()).number
    mailbox = mailbox_of(stage)
    old = mailbox.row("default", first)
    assert old is not None and old.result is not None and old.result_signature is not None
    stage.robot.wake = lambda: True  # type: ignore[method-assign]
    stage.clock.waiting = lambda: None
    sent = client.send(Hello())
    mailbox.finish("default", sent.number, old.result, old.result_signature, 0)
    with pytest.raises(VaultDamagedError, match="belongs to another command"):
        client.await_receipt(sent)
