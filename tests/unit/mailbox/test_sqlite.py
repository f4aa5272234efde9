"""The mailbox in SQLite: numbers, receipts, and what must not stay in its file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fortctl.errors import ConflictError, VaultDamagedError
from fortctl.mailbox.sqlite import SqliteMailbox
from fortctl.ports import MailboxRow

SEALED = b"sealed-bytes-that-must-vanish-" * 4


def row(number: int, account: str = "a") -> MailboxRow:
    return MailboxRow(account, number, b'{"created_at":5}', SEALED, b"signature")


def test_a_number_is_taken_once_and_rows_wait_in_order(tmp_path: Path) -> None:
    mailbox = SqliteMailbox(tmp_path / "m.sqlite")
    for number in (2, 1):
        mailbox.append(row(number))
    mailbox.append(row(9, "b"))
    with pytest.raises(ConflictError):
        mailbox.append(row(2))
    assert [one.number for one in mailbox.pending("a")] == [1, 2]
    assert (mailbox.last_number("a"), mailbox.last_number("b"), mailbox.last_number("c")) == (2, 9, 0)
    assert mailbox.waiting("a") == [(1, 5), (2, 5)]


def test_an_answered_rows_payload_is_gone_from_every_file(tmp_path: Path) -> None:
    mailbox = SqliteMailbox(tmp_path / "m.sqlite")
    mailbox.append(row(1))
    assert any(b"must-vanish" in path.read_bytes() for path in tmp_path.iterdir())
    mailbox.claim("a", 1, 6)
    mailbox.finish("a", 1, b"result", b"by the robot", 7)
    found = mailbox.row("a", 1)
    assert found is not None and (found.result, found.sealed) == (b"result", None)
    assert mailbox.pending("a") == ()
    assert not any(b"must-vanish" in path.read_bytes() for path in tmp_path.iterdir())
    assert stat.S_IMODE((tmp_path / "m.sqlite").stat().st_mode) == 0o600


def test_panic_withdraws_cards_and_payloads(tmp_path: Path) -> None:
    mailbox = SqliteMailbox(tmp_path / "m.sqlite")
    mailbox.append(row(1))
    mailbox.publish_card("a", b"body", b"signature", 1)
    assert mailbox.card("a") == (b"body", b"signature")
    mailbox.withdraw("a", 9)
    assert mailbox.card("a") is None and mailbox.pending("a") == ()
    assert not any(b"must-vanish" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(VaultDamagedError):
        SqliteMailbox(tmp_path / "m.sqlite")
