"""The arguments of each kind of command, as frozen values, and their JSON form inside the sealed box. No I/O.

Secrets are ``Secret``s on both sides; they are plain text only while :func:`encode_payload` builds the bytes that are
sealed next, and while :func:`decode_payload` reads the bytes that were just opened. The table of kinds and fields is
in docs/sealed-mailbox.md.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from fortctl.canonical_json import canonical_json
from fortctl.errors import BadInputError, UsageError
from fortctl.mailbox.home_anchor import HomeAnchor
from fortctl.model import KeyType
from fortctl.secret import Secret


@dataclass(frozen=True)
class CommandPayload:
    """The arguments of one kind of command; most kinds have none."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as they are sealed; secrets are revealed."""
        return {}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        return cls()

    def secrets(self) -> tuple[Secret, ...]:
        """Return the secrets among the arguments, to be scrubbed from memory once they are applied."""
        return ()


def _secret(value: object) -> Secret:
    if not isinstance(value, str):
        raise TypeError("a secret is text")
    return Secret(value)


@dataclass(frozen=True)
class DeliverKey(CommandPayload):
    """Verify a new key and take it into use.

    Attributes:
        name: the key's name in the Binance account.
        api_key: the API key.
        type: the key's type; None where the robot made the pair itself.
        secret: the secret key or the private key (PEM); None where the robot made the pair itself.
        pending_id: which pair the robot made; None: the one that waits.
        allow: permissions to accept although the role does not need them.
        elsewhere: the pinned numbers of the home's other accounts at this exchange, with the accounts' names.
        uid: the account's pinned number, or None.
        fingerprint_key: the home's key for fingerprints.
        retire: keep the replaced key until it is proved deleted (rotation).
        overlap: the replaced key is still good: swap between two orders.
        check_only: verify the key and store nothing.
    """

    kind: ClassVar[str] = "deliver-key"

    name: str
    api_key: Secret
    fingerprint_key: Secret
    type: KeyType | None = None
    secret: Secret | None = None
    pending_id: str | None = None
    allow: tuple[str, ...] = ()
    elsewhere: Mapping[int, str] = field(default_factory=dict)
    uid: int | None = None
    retire: bool = False
    overlap: bool = False
    check_only: bool = False

    def to_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "name": self.name,
            "api_key": self.api_key.reveal(),
            "allow": sorted(self.allow),
            "elsewhere": {str(uid): name for uid, name in self.elsewhere.items()},
            "uid": self.uid,
            "fingerprint_key": base64.b64encode(self.fingerprint_key.reveal_bytes()).decode(),
        }
        if self.secret is not None and self.type is not None:
            fields |= {"type": self.type.value, "secret": self.secret.reveal()}
        else:
            fields["pending"] = self.pending_id
        if self.check_only:
            fields |= {"retire": self.retire, "look": True}
        elif self.retire:
            fields |= {"retire": True, "overlap": self.overlap}
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        pending = "pending" in fields
        return cls(
            name=str(fields["name"]),
            api_key=_secret(fields["api_key"]),
            fingerprint_key=Secret(base64.b64decode(fields["fingerprint_key"])),
            type=None if pending else KeyType(fields["type"]),
            secret=None if pending else _secret(fields["secret"]),
            pending_id=fields.get("pending"),
            allow=tuple(fields["allow"]),
            elsewhere={int(uid): str(name) for uid, name in fields.get("elsewhere", {}).items()},
            uid=fields.get("uid"),
            retire=bool(fields.get("retire")),
            overlap=bool(fields.get("overlap")),
            check_only=bool(fields.get("look")),
        )

    def secrets(self) -> tuple[Secret, ...]:
        return tuple(secret for secret in (self.api_key, self.secret) if secret)


@dataclass(frozen=True)
class GenerateKey(CommandPayload):
    """Make a key pair whose private half stays with the robot."""

    kind: ClassVar[str] = "generate-key"

    type: KeyType

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type.value}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        return cls(KeyType(fields["type"]))


@dataclass(frozen=True)
class ShowPending(CommandPayload):
    """Return the public half of the pair that waits for its API key."""

    kind: ClassVar[str] = "show-pending"


@dataclass(frozen=True)
class ForgetKey(CommandPayload):
    """Destroy the robot's key."""

    kind: ClassVar[str] = "forget-key"


@dataclass(frozen=True)
class VerifyKey(CommandPayload):
    """Ask the exchange about the robot's key."""

    kind: ClassVar[str] = "verify-key"


@dataclass(frozen=True)
class ProveRetired(CommandPayload):
    """Ask the exchange whether the key that a rotation replaced is dead.

    Attributes:
        drop: destroy the retiring copy instead of asking.
    """

    kind: ClassVar[str] = "prove-retired"

    drop: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"drop": True} if self.drop else {}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        return cls(bool(fields.get("drop")))


@dataclass(frozen=True)
class StartTrading(CommandPayload):
    """Begin to trade."""

    kind: ClassVar[str] = "start"


@dataclass(frozen=True)
class DrainCycles(CommandPayload):
    """Finish the open cycles and begin none."""

    kind: ClassVar[str] = "drain"


@dataclass(frozen=True)
class StopTrading(CommandPayload):
    """Stop at once.

    Attributes:
        cancel_orders: cancel the robot's own orders too.
    """

    kind: ClassVar[str] = "stop"

    cancel_orders: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"cancel_orders": self.cancel_orders}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        return cls(bool(fields.get("cancel_orders")))


@dataclass(frozen=True)
class ResumeTrading(CommandPayload):
    """Lift the hold, after a person checked its reasons."""

    kind: ClassVar[str] = "resume"


@dataclass(frozen=True)
class ConfigureRobot(CommandPayload):
    """Take over new settings.

    Attributes:
        settings: JSON values by name; which names there are is up to the strategy, which may be a plugin.
    """

    kind: ClassVar[str] = "configure"

    settings: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return dict(self.settings)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        return cls(dict(fields))


@dataclass(frozen=True)
class Hello(CommandPayload):
    """Answer with the robot's state: a new operator's first command."""

    kind: ClassVar[str] = "hello"


@dataclass(frozen=True)
class PairOperator(CommandPayload):
    """Obey another operator too.

    Attributes:
        operator_id, public: the operator's identity (Ed25519 public key, 32 bytes).
    """

    kind: ClassVar[str] = "pair-operator"

    operator_id: str
    public: bytes

    def to_json(self) -> dict[str, Any]:
        return {"operator_id": self.operator_id, "public": base64.b64encode(self.public).decode()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        return cls(str(fields["operator_id"]), base64.b64decode(fields["public"]))


@dataclass(frozen=True)
class UnpairOperator(CommandPayload):
    """Obey an operator no longer."""

    kind: ClassVar[str] = "unpair-operator"

    operator_id: str

    def to_json(self) -> dict[str, Any]:
        return {"operator_id": self.operator_id}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        return cls(str(fields["operator_id"]))


PAYLOADS: dict[str, type[CommandPayload]] = {
    payload.kind: payload
    for payload in (
        *(DeliverKey, GenerateKey, ShowPending, ForgetKey, VerifyKey, ProveRetired),
        *(StartTrading, DrainCycles, StopTrading, ResumeTrading, ConfigureRobot),
        *(Hello, PairOperator, UnpairOperator),
    )
}
# Sent beside the arguments of every kind.
_ANCHOR = "site"


def encode_payload(payload: CommandPayload, anchor: HomeAnchor) -> Secret:
    """Return the canonical JSON of a command's arguments, to be sealed."""
    return Secret(canonical_json({**payload.to_json(), _ANCHOR: list(anchor)}))


def decode_payload(kind: str, arguments: Secret) -> CommandPayload:
    """Read the arguments of a command whose seal and signature were checked.

    Raises:
        UsageError: this version of fortctl has no such kind of command.
        BadInputError: the kind needs other fields.
    """
    payload = PAYLOADS.get(kind)
    if payload is None:
        raise UsageError(f"this robot knows no command '{kind}'")
    fields = json.loads(arguments.reveal_bytes())
    fields.pop(_ANCHOR, None)
    try:
        return payload.from_json(fields)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise BadInputError(
            f"the arguments of the command '{kind}' are not those that this robot understands",
            hint="use the same version of fortctl on both hosts",
        ) from None


def decode_anchor(arguments: Secret) -> HomeAnchor | None:
    """Return where the operator's home stood, or None where the command does not say so."""
    anchor = json.loads(arguments.reveal_bytes()).get(_ANCHOR)
    try:
        return HomeAnchor(int(anchor[0]), int(anchor[1]), str(anchor[2]))
    except (TypeError, ValueError, LookupError):
        return None
