"""Commands and receipts of the sealed mailbox: building, opening, refusing. No I/O.

The operator signs the envelope, which binds account, robot, operator, number, kind, generation, validity and the
SHA-256 of the sealed arguments; the same facts go into HPKE's ``info``. Specified in docs/sealed-mailbox.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fortctl.canonical_json import canonical_json
from fortctl.errors import VaultDamagedError
from fortctl.mailbox.crypto import SealError, seal, verify
from fortctl.ports import MailboxRow
from fortctl.secret import Secret

if TYPE_CHECKING:
    from fortctl.mailbox.crypto import Identity, RecipientKey

VERSION = 1
# A command from a clock that runs ahead is accepted this far ahead of ours.
AHEAD_MS = 60_000
SEALED_LIMIT = 256 * 1024


@dataclass(frozen=True)
class Command:
    """One command to one robot.

    Attributes:
        created_at, valid_until: milliseconds since the epoch; ``valid_until`` None means without end.
        generation: what the robot's key generation becomes if this command installs a key.
        arguments: what travels sealed, and may hold secrets: see :mod:`fortctl.mailbox.payloads`.
    """

    account: str
    robot_id: str
    operator_id: str
    number: int
    kind: str
    recipient_id: str
    generation: int
    created_at: int
    valid_until: int | None
    arguments: Secret


class CommandRejectedError(Exception):
    """A row that the robot does not obey; ``reason`` is one of the words in docs/sealed-mailbox.md."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def seal_command(command: Command, operator: Identity, recipient_public: bytes) -> MailboxRow:
    """Seal and sign a command."""
    facts = _facts(command)
    sealed = seal(command.arguments, recipient_public, _context(facts))
    envelope = canonical_json({**facts, "sealed_sha256": hashlib.sha256(sealed).hexdigest()})
    signature = operator.sign("command", envelope)
    return MailboxRow(command.account, command.number, envelope, sealed, signature)


def open_command(
    row: MailboxRow,
    *,
    operators: Mapping[str, bytes],
    recipient: Callable[[str], RecipientKey | None],
    account: str,
    robot_id: str,
    now_ms: int,
    last_number: int,
) -> Command:
    """Check a row in the order of trust, then open it.

    Args:
        row: as it lies in the mailbox; nothing of it is believed before the signature is checked.
        operators: the paired operators' public keys by id.
        recipient: returns the robot's recipient key of an id, or None when it is gone.
        account, robot_id: this robot's.
        now_ms: the robot's clock.
        last_number: the highest number applied.

    Raises:
        CommandRejectedError: with the reason.
    """
    facts = _read_envelope(row)
    public = operators.get(facts["operator_id"])
    if public is None:
        raise CommandRejectedError("unpaired")
    if not verify(public, "command", row.envelope, row.signature):
        raise CommandRejectedError("bad_signature")
    if facts["account"] != account or row.account != account:
        raise CommandRejectedError("other_account")
    if facts["robot_id"] != robot_id:
        raise CommandRejectedError("other_robot")
    if facts["number"] != row.number or facts["number"] <= last_number:
        raise CommandRejectedError("replayed")
    if facts["created_at"] > now_ms + AHEAD_MS:
        raise CommandRejectedError("not_yet")
    if facts["valid_until"] is not None and now_ms > facts["valid_until"]:
        raise CommandRejectedError("expired")
    return _open(row, facts, recipient(facts["recipient_id"]))


def _open(row: MailboxRow, facts: dict[str, Any], key: RecipientKey | None) -> Command:
    if key is None:
        raise CommandRejectedError("reseal")
    sealed = row.sealed
    if sealed is None or hashlib.sha256(sealed).hexdigest() != facts.pop("sealed_sha256"):
        raise CommandRejectedError("malformed")
    try:
        arguments = key.unseal(sealed, _context(facts))
        well_formed = isinstance(json.loads(arguments.reveal_bytes()), dict)
    except (SealError, ValueError, RecursionError):
        raise CommandRejectedError("malformed") from None
    if not well_formed:
        raise CommandRejectedError("malformed")
    facts.pop("v")
    return Command(**facts, arguments=arguments)


_TYPES: dict[str, tuple[type, ...]] = {
    "v": (int,),
    "account": (str,),
    "robot_id": (str,),
    "operator_id": (str,),
    "number": (int,),
    "kind": (str,),
    "recipient_id": (str,),
    "generation": (int,),
    "created_at": (int,),
    "valid_until": (int, type(None)),
    "sealed_sha256": (str,),
}


def _read_envelope(row: MailboxRow) -> dict[str, Any]:
    typed = all(isinstance(part, bytes) for part in (row.envelope, row.sealed or b"", row.signature))
    if not typed or len(row.envelope) > 4096 or len(row.sealed or b"") > SEALED_LIMIT:
        raise CommandRejectedError("malformed")
    try:
        facts = json.loads(row.envelope)
        well_formed = (
            isinstance(facts, dict)
            and facts.keys() == _TYPES.keys()
            and all(type(facts[name]) in kinds for name, kinds in _TYPES.items())
            and facts["v"] == VERSION
            and canonical_json(facts) == row.envelope
        )
    except (ValueError, TypeError, RecursionError):
        well_formed = False
    if not well_formed:
        raise CommandRejectedError("malformed")
    return dict(facts)


def _facts(command: Command) -> dict[str, Any]:
    return {
        "v": VERSION,
        "account": command.account,
        "robot_id": command.robot_id,
        "operator_id": command.operator_id,
        "number": command.number,
        "kind": command.kind,
        "recipient_id": command.recipient_id,
        "generation": command.generation,
        "created_at": command.created_at,
        "valid_until": command.valid_until,
    }


def _context(facts: Mapping[str, Any]) -> bytes:
    return b"fortctl/1/command\0" + canonical_json({name: facts[name] for name in _TYPES if name != "sealed_sha256"})


class SignedReceipt(NamedTuple):
    """A receipt as the robot leaves it in the mailbox."""

    body: bytes
    signature: bytes


def sign_receipt(
    robot: Identity,
    *,
    account: str,
    number: int,
    kind: str,
    outcome: str,
    generation: int,
    at: int,
    data: Mapping[str, Any],
    error: Mapping[str, Any] | None,
) -> SignedReceipt:
    """Write a receipt and sign it with the robot's identity.

    Args:
        outcome: ``applied``, ``refused`` or ``reseal``.
        at: milliseconds since the epoch.
    """
    body = canonical_json(
        {
            "v": VERSION,
            "account": account,
            "robot_id": robot.id,
            "number": number,
            "kind": kind,
            "outcome": outcome,
            "generation": generation,
            "at": at,
            "data": dict(data),
            "error": dict(error) if error is not None else None,
        }
    )
    return SignedReceipt(body, robot.sign("receipt", body))


def read_receipt(body: bytes, signature: bytes, robot_public: bytes) -> dict[str, Any]:
    """Return a receipt's facts. Raises ``VaultDamagedError`` when the robot did not sign it."""
    if not verify(robot_public, "receipt", body, signature):
        raise VaultDamagedError(
            "the answer in the mailbox is not signed by the robot that this home trusts",
            hint="somebody changed the mailbox; see 'fortctl doctor'",
        )
    facts: dict[str, Any] = json.loads(body)
    return facts
