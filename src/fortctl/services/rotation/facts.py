"""What a rotation knows and has done so far, for its later steps and for the process that resumes it. Pure.

A step returns the facts with its own added; they are journaled with it. Never a key: keys are named by name, tail and
fingerprint. The JSON form is what operations.sqlite holds: rows written by any earlier version must be read, so field
names in it stay, and a fact that is not known is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fortctl.model import Role


@dataclass(frozen=True)
class KeyReference:
    """What may be said of a key: never the API key itself.

    Attributes:
        name: its name in the Binance account.
        tail: the last four characters of the API key.
        fingerprint: of the API key.
    """

    name: str = ""
    tail: str = ""
    fingerprint: str = ""

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "tail": self.tail, "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> KeyReference:
        return cls(str(fields["name"]), str(fields["tail"]), str(fields["fingerprint"]))


class OperatorActionKind(StrEnum):
    """What a person must do: the ``what`` of ``actions[]`` in the JSON output."""

    CREATE_KEY = "create_key_at_exchange"
    ENTER_KEY = "enter_key"
    DELETE_KEY = "delete_key_at_exchange"


@dataclass(frozen=True)
class KeyRequirements:
    """What a new key must be like.

    Attributes:
        permissions: the permissions that it needs, by their names in Binance's API.
        tick: the same as Binance's page labels them.
        addresses: the addresses for its IP list, as far as they are known.
        ip: what to enter as its IP list, for a person.
    """

    permissions: tuple[str, ...]
    tick: tuple[str, ...]
    addresses: tuple[str, ...]
    ip: str

    def to_json(self) -> dict[str, Any]:
        return {
            "permissions": list(self.permissions),
            "tick": list(self.tick),
            "addresses": list(self.addresses),
            "ip": self.ip,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> KeyRequirements:
        return cls(tuple(fields["permissions"]), tuple(fields["tick"]), tuple(fields["addresses"]), str(fields["ip"]))


@dataclass(frozen=True)
class OperatorAction:
    """One thing that a person must do.

    Attributes:
        role: whose key it is about; several roles are joined by ``|``.
        text: the sentence that the person reads.
        key: the key to delete.
        requirements: what the key to create must be like.
        command: the command that accepts the new key.
    """

    kind: OperatorActionKind
    account: str
    role: str
    text: str
    key: KeyReference | None = None
    requirements: KeyRequirements | None = None
    command: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return an entry of ``actions[]`` as JSON."""
        return {
            "what": self.kind.value,
            "account": self.account,
            "role": self.role,
            **(self.key.to_json() if self.key is not None else {}),
            **(self.requirements.to_json() if self.requirements is not None else {}),
            **({"command": self.command} if self.command is not None else {}),
            "text": self.text,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> OperatorAction:
        return cls(
            kind=OperatorActionKind(fields["what"]),
            account=str(fields["account"]),
            role=str(fields["role"]),
            text=str(fields["text"]),
            key=KeyReference.from_json(fields) if "fingerprint" in fields else None,
            requirements=KeyRequirements.from_json(fields) if "permissions" in fields else None,
            command=fields.get("command"),
        )


@dataclass(frozen=True)
class IssueAttempts:
    """What the issuer was asked to make for one role.

    Attributes:
        names: the unique names asked for, oldest first; the last one is current.
        pending_id: the pair whose public half was sent, or None.
        public_key: that half (PEM).
        addresses: the IP list that the key is made with.
    """

    names: tuple[str, ...] = ()
    pending_id: str | None = None
    public_key: str = ""
    addresses: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "pending": self.pending_id,
            "public": self.public_key,
            "addresses": list(self.addresses),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> IssueAttempts:
        return cls(
            tuple(fields["names"]), fields.get("pending"), fields.get("public", ""), tuple(fields.get("addresses", ()))
        )


@dataclass(frozen=True)
class RotationFacts:
    """What is known of one rotation; an empty or None field is not known (yet).

    Attributes:
        issuer: ``person`` or ``sub-account``.
        issued_for: fingerprint of the sub-account's e-mail address.
        addresses: the IP list that the operator asked for; None: the old key's.
        allow: what the operator accepted for the new keys (``--allow``).
        announced: the ``pre-rotate`` hook was run.
        old: the keys before.
        reached_from: from which address the host of a role's key reaches the exchange; None: not known.
        robot_was: the robot's state before.
        lost_since: since when the robot's key is refused (RFC 3339), or None.
        unfinished: what to do with the orders of a drain that timed out: ``keep`` or ``cancel``.
        stopped_at: when the robot stopped trading (ms).
        new: fingerprints of the new keys.
        made: new keys that a person created; None: none was entered yet.
        refused: keys that a person made and that were refused: they still exist at the exchange.
        missing: roles for which a person must create another key; None: nobody was asked yet.
        issue: what the issuer was asked for.
        listed: roles whose old key the issuer's list named.
        old_addresses: IP lists of the old keys.
        deleted: how the deletion of an old key was proved.
        dropped: roles whose retiring copy is destroyed.
        trading_gap_s: how long the robot did not trade (s).
        left: after an abort, what it left, as text.
        actions: after an abort, what a person must still do (``actions[]`` of the JSON output).
    """

    issuer: str | None = None
    issued_for: str | None = None
    addresses: tuple[str, ...] | None = None
    allow: tuple[str, ...] = ()
    announced: bool = False
    old: Mapping[Role, KeyReference] = field(default_factory=dict)
    reached_from: Mapping[Role, str | None] = field(default_factory=dict)
    robot_was: str | None = None
    lost_since: str | None = None
    unfinished: str | None = None
    stopped_at: int | None = None
    new: Mapping[Role, str] = field(default_factory=dict)
    made: Mapping[Role, KeyReference] | None = None
    refused: Mapping[Role, tuple[KeyReference, ...]] = field(default_factory=dict)
    missing: tuple[Role, ...] | None = None
    issue: Mapping[Role, IssueAttempts] = field(default_factory=dict)
    listed: tuple[Role, ...] = ()
    old_addresses: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)
    deleted: Mapping[Role, str] = field(default_factory=dict)
    dropped: tuple[Role, ...] = ()
    trading_gap_s: float | None = None
    left: str | None = None
    actions: tuple[OperatorAction, ...] = ()

    def issued_names(self, role: Role) -> tuple[str, ...]:
        """Return the unique names under which the issuer was asked for a role's key, oldest first."""
        attempts = self.issue.get(role)
        return attempts.names if attempts is not None else ()

    def to_json(self) -> dict[str, Any]:
        """Return what the store holds."""
        known: dict[str, Any] = {
            "issuer": self.issuer,
            "issued_for": self.issued_for,
            "addresses": list(self.addresses) if self.addresses is not None else None,
            "announced": self.announced or None,
            "unfinished": self.unfinished,
            "stopped_at": self.stopped_at,
            "wants": [role.value for role in self.missing] if self.missing is not None else None,
            "made": _by_role(self.made, KeyReference.to_json) if self.made is not None else None,
            "trading_gap_s": self.trading_gap_s,
            "left": self.left,
            "actions": [action.to_json() for action in self.actions] if self.left is not None else None,
        }
        several: dict[str, Any] = {
            "allow": list(self.allow),
            "old": _by_role(self.old, KeyReference.to_json),
            "from": _by_role(self.reached_from),
            "new": _by_role(self.new),
            "refused": _by_role(self.refused, lambda keys: [key.to_json() for key in keys]),
            "issue": _by_role(self.issue, IssueAttempts.to_json),
            "listed": [role.value for role in self.listed],
            "born": _by_role(self.old_addresses, list),
            "dead": _by_role(self.deleted),
            "dropped": [role.value for role in self.dropped],
        }
        fields = {name: value for name, value in known.items() if value is not None}
        fields |= {name: value for name, value in several.items() if value}
        if self.robot_was is not None:
            fields |= {"was": self.robot_was, "lost_since": self.lost_since}
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> RotationFacts:
        """Read what :meth:`to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            issuer=fields.get("issuer"),
            issued_for=fields.get("issued_for"),
            addresses=tuple(fields["addresses"]) if fields.get("addresses") is not None else None,
            allow=tuple(fields.get("allow", ())),
            announced=bool(fields.get("announced")),
            old=_from_roles(fields, "old", KeyReference.from_json),
            reached_from=_from_roles(fields, "from"),
            robot_was=fields.get("was"),
            lost_since=fields.get("lost_since"),
            unfinished=fields.get("unfinished"),
            stopped_at=fields.get("stopped_at"),
            new=_from_roles(fields, "new"),
            made=_from_roles(fields, "made", KeyReference.from_json) if "made" in fields else None,
            refused=_from_roles(fields, "refused", lambda keys: tuple(map(KeyReference.from_json, keys))),
            missing=tuple(map(Role, fields["wants"])) if "wants" in fields else None,
            issue=_from_roles(fields, "issue", IssueAttempts.from_json),
            listed=tuple(map(Role, fields.get("listed", ()))),
            old_addresses=_from_roles(fields, "born", tuple),
            deleted=_from_roles(fields, "dead"),
            dropped=tuple(map(Role, fields.get("dropped", ()))),
            trading_gap_s=fields.get("trading_gap_s"),
            left=fields.get("left"),
            actions=tuple(map(OperatorAction.from_json, fields.get("actions", ()))),
        )


def _by_role(values: Mapping[Role, Any], encode: Any = lambda value: value) -> dict[str, Any]:
    return {role.value: encode(value) for role, value in values.items()}


def _from_roles(fields: Mapping[str, Any], name: str, decode: Any = lambda value: value) -> dict[Role, Any]:
    return {Role(role): decode(value) for role, value in fields.get(name, {}).items()}
