"""Pre-signed panic orders, which stop a robot on another host without unlocking anything. Pure.

An operator signs an order when it is paired, and again after each use. The order is stored unencrypted: a thief can
stop the robot once, and nothing else. It does not expire; its nonce is valid once (docs/sealed-mailbox.md, "Panic
orders").
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fortctl.canonical_json import canonical_json
from fortctl.errors import VaultDamagedError
from fortctl.mailbox.crypto import Identity, verify
from fortctl.mailbox.messages import CommandRejectedError

VERSION = 1
NONCE_BYTES = 16
_BODY_LIMIT = 4096
_TYPES: dict[str, type] = {
    "v": int,
    "account": str,
    "robot_id": str,
    "operator_id": str,
    "nonce": str,
    "cancel_orders": bool,
}


@dataclass(frozen=True)
class SignedMessage:
    """A body and its signature, as they are sent: an order, or the answer to one."""

    body: bytes
    signature: bytes


@dataclass(frozen=True)
class PanicOrder:
    """The content of an authenticated order."""

    operator_id: str
    nonce: str
    cancel_orders: bool


@dataclass(frozen=True)
class PanicOrderFile:
    """A pre-signed order with everything needed to send it, without vault and configuration.

    Attributes:
        account, robot_id: the robot to stop.
        robot_public: verifies the robot's answer.
        mailbox: the mailbox's URL; a database's password is in a 0600 file of its own.
        nonce: identifies the order; both of its forms have it, so the robot obeys only one of them.
        cancel, keep: the form that cancels the robot's orders, and the form that keeps them.
        used: the order was sent.
    """

    account: str
    robot_id: str
    robot_public: bytes
    mailbox: str
    nonce: str
    cancel: SignedMessage
    keep: SignedMessage
    used: bool = False

    def form(self, cancel_orders: bool) -> SignedMessage:
        return self.cancel if cancel_orders else self.keep

    def as_bytes(self) -> bytes:
        return canonical_json(
            {
                "v": VERSION,
                "account": self.account,
                "robot_id": self.robot_id,
                "robot_public": _text(self.robot_public),
                "mailbox": self.mailbox,
                "nonce": self.nonce,
                "cancel": [self.cancel.body.decode(), _text(self.cancel.signature)],
                "keep": [self.keep.body.decode(), _text(self.keep.signature)],
                "used": self.used,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> PanicOrderFile:
        """Read an order file. Raises ``VaultDamagedError``."""
        try:
            fields = json.loads(data)
            if fields.pop("v") != VERSION:
                raise ValueError
            cancel, keep = (_signed(fields.pop(name)) for name in ("cancel", "keep"))
            if not all(isinstance(fields[name], str) for name in ("account", "robot_id", "mailbox", "nonce")):
                raise ValueError
            return cls(robot_public=_bytes(fields.pop("robot_public")), cancel=cancel, keep=keep, **fields)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise VaultDamagedError(
                "the pre-signed panic order cannot be read", hint="any command that unlocks the vault signs a new one"
            ) from None


def sign_orders(operator: Identity, account: str, robot_id: str, robot_public: bytes, mailbox: str) -> PanicOrderFile:
    """Sign a new order in both forms."""
    nonce = os.urandom(NONCE_BYTES).hex()

    def signed(cancel_orders: bool) -> SignedMessage:
        body = canonical_json(
            {
                "v": VERSION,
                "account": account,
                "robot_id": robot_id,
                "operator_id": operator.id,
                "nonce": nonce,
                "cancel_orders": cancel_orders,
            }
        )
        return SignedMessage(body, operator.sign("panic", body))

    return PanicOrderFile(account, robot_id, robot_public, mailbox, nonce, signed(True), signed(False))


def check_order(
    body: bytes,
    signature: bytes,
    *,
    operators: Mapping[str, bytes],
    account: str,
    robot_id: str,
    used: Collection[str],
) -> PanicOrder:
    """Authenticate an order from the mailbox, and return its content.

    Args:
        operators: the paired operators' public keys by id.
        used: the nonces of orders that the robot has obeyed.

    Raises:
        CommandRejectedError: ``malformed``, ``unpaired``, ``bad_signature``, ``other_account``, ``other_robot`` or
            ``replayed``.
    """
    facts = _read(body)
    public = operators.get(facts["operator_id"])
    if public is None:
        raise CommandRejectedError("unpaired")
    if not verify(public, "panic", body, signature):
        raise CommandRejectedError("bad_signature")
    if facts["account"] != account:
        raise CommandRejectedError("other_account")
    if facts["robot_id"] != robot_id:
        raise CommandRejectedError("other_robot")
    if facts["nonce"] in used:
        raise CommandRejectedError("replayed")
    return PanicOrder(facts["operator_id"], facts["nonce"], facts["cancel_orders"])


def _read(body: bytes) -> dict[str, Any]:
    try:
        if len(body) > _BODY_LIMIT:
            raise ValueError
        facts = json.loads(body)
        well_formed = (
            isinstance(facts, dict)
            and facts.keys() == _TYPES.keys()
            and all(type(facts[name]) is kind for name, kind in _TYPES.items())
            and facts["v"] == VERSION
            and len(facts["nonce"]) == 2 * NONCE_BYTES
            and canonical_json(facts) == body
        )
    except (ValueError, TypeError, RecursionError):
        well_formed = False
    if not well_formed:
        raise CommandRejectedError("malformed")
    return dict(facts)


def sign_answer(
    robot: Identity, account: str, nonce: str, outcome: str, at: int, data: Mapping[str, Any]
) -> SignedMessage:
    """Return a robot's signed answer to an order.

    Args:
        outcome: ``latched`` (it places nothing more), ``halted`` (it is done) or ``refused``.
        at: milliseconds since the epoch.
        data: JSON values without fractions; ``reason`` where it was refused.
    """
    body = canonical_json(
        {
            "v": VERSION,
            "account": account,
            "robot_id": robot.id,
            "nonce": nonce,
            "outcome": outcome,
            "at": at,
            "data": dict(data),
        }
    )
    return SignedMessage(body, robot.sign("panic-answer", body))


def read_answer(body: bytes, signature: bytes, order: PanicOrderFile) -> dict[str, Any] | None:
    """Return the robot's answer to an order, or None if it is not that robot's answer to that order."""
    if not verify(order.robot_public, "panic-answer", body, signature):
        return None
    facts: dict[str, Any] = json.loads(body)
    return facts if facts.get("nonce") == order.nonce and facts.get("account") == order.account else None


def _signed(pair: Any) -> SignedMessage:
    body, signature = pair
    return SignedMessage(body.encode(), _bytes(signature))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
