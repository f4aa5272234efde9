"""The mailbox's behaviour, the same in SQLite and in a real PostgreSQL."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fortctl.errors import ConfigError, ConflictError, RobotUnreachableError
from fortctl.mailbox.postgres import PostgresMailbox, check_url
from fortctl.mailbox.sqlite import SqliteMailbox
from fortctl.ports import MailboxRow

Mailbox = SqliteMailbox | PostgresMailbox
Make = Callable[[], Mailbox]


@pytest.fixture(params=["sqlite", "postgresql"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Returns a new connection to the same mailbox each time."""
    if request.param == "sqlite":
        return lambda: SqliteMailbox(tmp_path / "mailbox.sqlite")
    url: str = request.getfixturevalue("postgres")
    return lambda: PostgresMailbox(url)


def row(number: int, account: str = "a") -> MailboxRow:
    return MailboxRow(account, number, b'{"created_at":5}', b"sealed" * 1000, b"signature")


def test_commands_go_in_and_receipts_come_out(make: Make) -> None:
    sender, robot = make(), make()
    assert sender.last_number("a") == 0 and sender.row("a", 1) is None and sender.pending("a") == ()
    for number in (1, 2, 3):
        sender.append(row(number))
    sender.append(row(1, "b"))
    assert [one.number for one in robot.pending("a")] == [1, 2, 3] and robot.last_number("a") == 3
    assert robot.waiting("b") == [(1, 5)]
    robot.claim("a", 1, 10)
    robot.finish("a", 1, b"result", b"its signature", 11)
    found = sender.row("a", 1)
    assert found is not None and (found.result, found.result_signature, found.sealed) == (
        b"result",
        b"its signature",
        None,
    )
    assert (found.claimed_at, found.finished_at) == (10, 11)
    assert [one.number for one in robot.pending("a")] == [2, 3]
    robot.withdraw("a", 12)
    assert robot.pending("a") == () and sender.row("a", 2).sealed is None  # type: ignore[union-attr]
    assert [one.number for one in robot.pending("b")] == [1]


def test_a_number_is_taken_once(make: Make) -> None:
    """Many senders at once: each number has one command."""
    taken: list[int] = []

    def send() -> None:
        mailbox = make()
        for number in range(1, 21):
            try:
                mailbox.append(row(number))
                taken.append(number)
            except ConflictError:
                continue
        mailbox.close()

    make().close()
    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert sorted(taken) == list(range(1, 21))


def test_cards_and_pairings_are_replaced(make: Make) -> None:
    one, other = make(), make()
    assert one.card("a") is None and one.pairing("a", "robot") is None
    for body in (b"first", b"second\x00\xff"):
        one.publish_card("a", body, b"s", 1)
        one.post_pairing("a", "robot", body)
    assert other.card("a") == (b"second\x00\xff", b"s") and other.pairing("a", "robot") == b"second\x00\xff"
    one.clear_pairing("a")
    assert other.pairing("a", "robot") is None


def test_a_database_that_goes_away(postgres: str) -> None:
    now = [0.0]
    mailbox = PostgresMailbox(postgres, clock=lambda: now[0])
    mailbox.append(row(1))
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fortctl'")
    assert mailbox.last_number("a") == 1, "it connects again"
    lost = PostgresMailbox(re.sub(r"/test_\w+\?", "/nowhere?", postgres), clock=lambda: now[0])
    for _ in range(2):
        with pytest.raises(RobotUnreachableError) as caught:
            lost.last_number("a")
        assert "postgresql" not in str(caught.value) + str(caught.value.hint)


def test_a_locked_table_does_not_hold_a_robot_up(postgres: str) -> None:
    import psycopg

    mailbox = PostgresMailbox(postgres)
    mailbox.append(row(1))
    with psycopg.connect(postgres) as admin:
        admin.execute("LOCK TABLE fortctl_command")
        with pytest.raises(RobotUnreachableError):
            mailbox.pending("a")
        with pytest.raises(RobotUnreachableError, match="a moment ago"):
            mailbox.pending("a")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://fortctl:secret@db.example/x?sslmode=verify-full",
        "postgresql://db.example/x?password=secret&sslmode=verify-full",
        "postgresql://fortctl@db.example/x",
        "postgresql://fortctl@db.example/x?sslmode=require",
        "postgresql://fortctl@db.example/x?sslmode=verify-ca",
        "postgresql://fortctl@db.example/x?sslmode=verify-full&sslmode=disable",
        "postgresql://localhost/x?host=db.example",
        "postgresql://localhost/x?hostaddr=192.0.2.1",
        "postgresql://localhost,db.example/x",
        "postgresql:///x?service=anything&sslmode=verify-full",
        "postgresql://host:port:again/x",
    ],
)
def test_urls_that_give_something_away(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_url(url)
    assert "secret" not in str(caught.value) + str(caught.value.hint)


@pytest.mark.parametrize(
    "url",
    ["postgresql:///x?host=/run/pg", "postgresql://localhost/x", "postgresql://a@db.example/x?sslmode=verify-full"],
)
def test_urls_that_are_good(url: str) -> None:
    check_url(url)


def test_check_url_judges_a_host_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example")
    with pytest.raises(ConfigError, match="another host"):
        check_url("postgresql:///x")
    check_url("postgresql://localhost/x")
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    check_url("postgresql:///x")


def test_panic_orders_wait_without_end(make: Make) -> None:
    sender, robot = make(), make()
    assert robot.open_panics("a") == () and sender.panic("a", "n1") is None
    sender.post_panic("a", "n1", b"order", b"signature")
    sender.post_panic("a", "n1", b"another order", b"another signature")
    sender.post_panic("b", "n1", b"of another account", b"signature")
    (found,) = robot.open_panics("a")
    assert (found.nonce, found.body, found.signature, found.answer) == ("n1", b"order", b"signature", None)
    robot.answer_panic("a", "n1", b"latched", b"s1")
    robot.answer_panic("a", "n1", b"halted", b"s2")
    assert robot.open_panics("a") == () and len(robot.open_panics("b")) == 1
    answered = sender.panic("a", "n1")
    assert answered is not None and (answered.answer, answered.answer_signature) == (b"halted", b"s2")
    sender.withdraw("a", 5)
    assert sender.panic("a", "n1") is not None, "what a panic leaves in the mailbox stays"
