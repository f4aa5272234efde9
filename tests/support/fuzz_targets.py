"""What strangers can hand us, as targets: any bytes give a result or a documented refusal, never another exception.

Mutations begin from the frozen vectors, so that they come past the first checks.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from fortctl.errors import FortctlError
from fortctl.mailbox.crypto import RecipientKey
from fortctl.mailbox.messages import CommandRejectedError, open_command, read_receipt
from fortctl.mailbox.pairing import read_commitment, read_share
from fortctl.ports import MailboxRow
from fortctl.robot.process.remote_robot import read_card
from fortctl.secret import Secret
from fortctl.services.keys.input import check_api_key, check_key, parse_input
from fortctl.store.audit_log import AuditLogFile
from fortctl.vault.backup import open_backup, read_backup
from fortctl.vault.envelope import check_tag, open_record, unwrap
from fortctl.vault.format import Document, decode, encode
from fortctl.vault.slots import Passphrase
from support.make_vectors import VECTORS

Target = Callable[[bytes], object]


@cache
def _cases(folder: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((VECTORS / folder).glob("*.json"))]


# What chance alone would hardly write.
STRANGE = (
    b"\\ud800",
    b"\\u0000",
    b"../../x",
    b"/dev/zero",
    b"\\",
    b'"',
    b"\x00",
    b"\xed\xa0\x80",
    b"9" * 16,
    b"-1",
    b"1e9",
)


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Draw a seed with a few pieces replaced, doubled, cut out or moved."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 40)))
        kind = draw(st.integers(0, 5))
        if kind == 0:
            data[start:end] = draw(st.binary(max_size=40))
        elif kind == 1:
            data[start:start] = data[start:end]
        elif kind == 2:
            del data[start:end]
        elif kind == 5:
            data[start:end] = draw(st.sampled_from(STRANGE))
        elif kind == 3 and data:
            data[min(start, len(data) - 1)] ^= 1 << draw(st.integers(0, 7))
        else:
            piece = bytes(data[start:end])
            del data[start:end]
            at = draw(st.integers(0, len(data)))
            data[at:at] = piece
    return bytes(data)


def vault(data: bytes) -> None:
    """A vault file, as it is and with its closing hash made right."""
    head = data[: data.rfind(b'sha256 = "')] if b'sha256 = "' in data else data
    for text in (data, head + b'sha256 = "' + hashlib.sha256(head).hexdigest().encode() + b'"\n'):
        try:
            document = decode(text)
        except FortctlError:
            continue
        assert encode(document) == text
        _opened(document)


def _opened(document: Document) -> None:
    for slot in document.slots:
        # What a file asks for is bounded before it is computed; nothing above the floor is computed here.
        if slot.kind == "passphrase" and (slot.memory_kib, slot.iterations) != (65536, 3):
            _refusing(partial(unwrap, slot, document.vault_id, Passphrase(Secret("x"))), computed=False)
    _refusing(partial(check_tag, bytes(32), document))
    for record in document.records:
        _refusing(partial(open_record, bytes(32), document.vault_id, record, bytes(31) + b"x"))


def backup(data: bytes) -> None:
    def read() -> None:
        open_backup(bytes(32), read_backup(data))

    _refusing(read)


def message(data: bytes) -> None:
    """A mailbox row: the first byte says which part is strange, the rest is that part."""
    case = _cases("messages")[0]
    robot, parts = (
        case["robot"],
        {name: base64.b64decode(case["row"][name]) for name in ("envelope", "sealed", "signature")},
    )
    name = ("envelope", "sealed", "signature")[data[0] % 3] if data else "envelope"
    parts[name] = data[1:]
    key = RecipientKey(base64.b64decode(robot["recipient_private"]))
    try:
        open_command(
            MailboxRow("default", 7, parts["envelope"], parts["sealed"], parts["signature"]),
            operators={one: base64.b64decode(public) for one, public in robot["operators"].items()},
            recipient=lambda key_id: key if key_id == key.key_id else None,
            account="default",
            robot_id=robot["robot_id"],
            now_ms=robot["now_ms"],
            last_number=6,
        )
    except CommandRejectedError:
        pass
    _refusing(lambda: read_receipt(data, data[:64], data[:32].ljust(32, b"\0")))


def pairing(data: bytes) -> None:
    _refusing(lambda: read_share(data))
    _refusing(lambda: read_commitment(data))


def entered(data: bytes) -> None:
    """What comes through ``--input``; no refusal repeats a piece of it."""
    for read in (
        lambda entered: check_key(entered, name=None, key_type=None, default_name="x", passphrase=lambda: Secret("p")),
        lambda entered: check_api_key(entered, name=None, default_name="x"),
    ):
        try:
            read(parse_input(data))
        except FortctlError as error:
            told = f"{error.message} {error.hint} {error.details}"
            for piece in (data[at : at + 24] for at in range(0, max(0, len(data) - 24), 8)):
                assert len(set(piece)) < 8 or piece.decode("latin-1") not in told


def audit(data: bytes) -> None:
    """An audit log: it is read, checked and continued, or refused; and what continues it can be continued again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.jsonl"
        path.write_bytes(data)
        log = AuditLogFile(path)
        log.seal_with(Secret(b"k" * 32))
        for work in (log.generations, lambda: list(log.entries()), log.check):
            _refusing(work)
        log.head()
        _refusing(lambda: log.append("noted", account="a", result="done"))
        log.append("panic", account="a", result="done", best_effort=True)
        log.head()


def card(data: bytes) -> None:
    """What a mailbox says of a robot on another host."""
    shown = read_card(data, data[:64], None)
    assert shown is None or isinstance(shown, dict)


@cache
def _log() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        log = AuditLogFile(Path(folder) / "audit.jsonl")
        log.seal_with(Secret(b"k" * 32))
        for number in range(3):
            log.append("key added", account="a", result="result", generation=number + 1, more=["x", {"y": 1}])
        return (Path(folder) / "audit.jsonl").read_bytes()


def _refusing(work: Callable[[], object], *, computed: bool = True) -> None:
    try:
        work()
    except FortctlError:
        return
    assert computed, "a cost outside the bounds was computed"


_ENTERED = [
    json.dumps({"name": "x", "api_key": "A" * 64, "secret_key": "Bb1" * 21 + "c"}).encode(),
    json.dumps(
        {"ok": True, "data": {"api_key": "A" * 64, "private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n"}}
    ).encode(),
    b'\xef\xbb\xbf{"api_key": "' + b"Q7" * 32 + b'", "secret_key": null, "type": "rsa"}',
]
TARGETS: dict[str, tuple[Target, Callable[[], list[bytes]]]] = {
    "vault": (vault, lambda: [case["vault"].encode() for case in _cases("vaults")]),
    "backup": (backup, lambda: [case["backup"].encode() for case in _cases("backups")]),
    "message": (
        message,
        lambda: [
            bytes([number]) + base64.b64decode(case["row"][name])
            for case in _cases("messages")
            for number, name in enumerate(("envelope", "sealed", "signature"))
        ],
    ),
    "pairing": (
        pairing,
        lambda: [
            b'{"commitment":"ab","session":"s"}',
            b'{"nonce":"' + b"A" * 43 + b'=","public":"AA==","session":"s"}',
        ],
    ),
    "input": (entered, lambda: _ENTERED),
    "audit": (audit, lambda: [_log(), _log()[:-9]]),
    "card": (card, lambda: [b'{"state":"running","status":{"state":"running"},"key":null}']),
}
