"""What the robot's own vault holds, as typed values over the vault port.

What steers money is believed from here alone: the key, who may command (pairing), which numbers were applied, settings.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from fortctl.errors import ConfigError, NotFoundError
from fortctl.keys.generation import pending_pair_from_record, pending_pair_to_record
from fortctl.keys.serialization import key_card_from_json, key_card_to_json
from fortctl.mailbox.crypto import Identity, RecipientKey
from fortctl.mailbox.home_anchor import HomeAnchor
from fortctl.model import KeyCard, KeyPair, KeyType, PendingPair, Role
from fortctl.ports import Clock, NewRecord, VaultPort
from fortctl.secret import Secret

IDENTITY = "identity/robot"


@dataclass(frozen=True)
class InstalledKey:
    """The robot's key as its vault holds it."""

    pair: KeyPair
    uid: int
    allow: tuple[str, ...]
    card: KeyCard


@dataclass(frozen=True)
class CommandCursor:
    """How far the robot has worked through its mailbox.

    Attributes:
        number: the last command applied.
        generation: counts installed keys.
        receipt, signature: that command's receipt (JSON) and its signature (base64).
        anchors: by operator, where its home stood at its last command: a home that was put back is noticed by that.
    """

    number: int = 0
    generation: int = 0
    receipt: str = ""
    signature: str = ""
    anchors: Mapping[str, HomeAnchor] = field(default_factory=dict)

    def to_record(self) -> str:
        """Serialise it for its vault record."""
        body = {
            "number": self.number,
            "generation": self.generation,
            "receipt": self.receipt,
            "signature": self.signature,
            "sites": {operator: list(anchor) for operator, anchor in self.anchors.items()},
        }
        return json.dumps(body, sort_keys=True)

    @classmethod
    def from_record(cls, body: Mapping[str, Any]) -> CommandCursor:
        """Read what :meth:`to_record` wrote; older records hold no ``sites``."""
        anchors = {
            operator: HomeAnchor(int(generation), int(number), str(digest))
            for operator, (generation, number, digest) in body.get("sites", {}).items()
        }
        return cls(body["number"], body["generation"], body["receipt"], body["signature"], anchors)


class RobotVault:
    """The robot's own vault, as typed values over the vault port."""

    def __init__(self, account: str, exchange: str, vault: VaultPort, clock: Clock) -> None:
        self.account = account
        self.exchange = exchange
        self._vault = vault
        self._clock = clock

    def identity(self) -> Identity:
        return Identity.from_private(self._vault.get(IDENTITY))

    def operators(self) -> dict[str, bytes]:
        paired = self._read("pairing") or {}
        return {name: base64.b64decode(public) for name, public in paired.items()}

    def cursor(self) -> CommandCursor:
        """Return how far the robot has worked through its mailbox."""
        record = self._read("applied")
        return CommandCursor.from_record(record) if record is not None else CommandCursor()

    def settings(self) -> dict[str, Any] | None:
        return self._read("settings")

    def recipient(self) -> RecipientKey:
        """Return the key that deliveries are sealed to; a fresh one where a panic destroyed it."""
        try:
            return RecipientKey.from_private(self._vault.get(f"recipient/{self.account}"))
        except NotFoundError:
            fresh = RecipientKey.generate()
            self._vault.update([self._recipient_record(fresh)])
            return fresh

    def used_orders(self) -> frozenset[str]:
        """Return the nonces of the panic orders that were obeyed."""
        return frozenset((self._read("panics") or {}).get("nonces", ()))

    def use_orders(self, nonces: Collection[str]) -> None:
        """Remember that panic orders were obeyed: each is good for one use."""
        used = self.used_orders()
        if not used.issuperset(nonces):
            self._vault.update([self._record("panics", json.dumps({"nonces": sorted({*used, *nonces})}))])

    def key(self) -> InstalledKey | None:
        """Return the installed key, or None (also when its erasure key was destroyed)."""
        return self._installed(self._key_id)

    def retiring(self) -> InstalledKey | None:
        """Return the key that a rotation replaced and nobody has proved deleted yet, or None."""
        return self._installed(self._retiring_id)

    def _installed(self, record_id: str) -> InstalledKey | None:
        meta = next((meta for meta in self._vault.records() if meta.record_id == record_id), None)
        if meta is None or self._vault.is_destroyed(record_id):
            return None
        if meta.exchange != self.exchange:
            raise ConfigError(
                f"account {self.account} is configured for {self.exchange}, but its robot key was entered for"
                f" {meta.exchange}",
                hint="set the exchange back in config.toml, or delete the key and enter one of the new target",
            )
        try:
            body = json.loads(self._vault.get(meta.record_id).reveal_bytes())
        except NotFoundError:
            return None
        pair = KeyPair(body["name"], KeyType(body["type"]), Secret(body["api_key"]), Secret(body["secret"]))
        return InstalledKey(pair, int(body["uid"]), tuple(body["allow"]), key_card_from_json(body["card"]))

    def pending(self) -> PendingPair | None:
        """Return the key pair that waits for its API key, or None (also when its erasure key was destroyed)."""
        if not self._has(self._pending_id):
            return None
        try:
            return pending_pair_from_record(self._vault.get(self._pending_id))
        except NotFoundError:
            return None

    def pending_type(self) -> str | None:
        """Return the type of the key pair that waits for its API key; nothing is decrypted."""
        return next((meta.type for meta in self._vault.records() if meta.record_id == self._pending_id), None)

    @property
    def _key_id(self) -> str:
        return f"key/{self.account}/robot"

    @property
    def _retiring_id(self) -> str:
        return f"retiring/{self.account}/robot"

    @property
    def _pending_id(self) -> str:
        return f"pending/{self.account}/robot"

    def _has(self, record_id: str) -> bool:
        return any(meta.record_id == record_id for meta in self._vault.records())

    def secrets(self) -> list[Secret]:
        """Return the secrets of every record that can be destroyed: keys, pairs, the recipient key."""
        secrets = []
        for meta in self._vault.records():
            try:
                plaintext = self._vault.get(meta.record_id) if meta.erasable else None
            except NotFoundError:
                continue
            if plaintext is None:
                continue
            if meta.record_id == f"recipient/{self.account}":
                secrets.append(plaintext)
                continue
            body = json.loads(plaintext.reveal_bytes())
            secrets += [Secret(body[name]) for name in ("api_key", "secret") if body.get(name)]
        return secrets

    def write(
        self,
        cursor: CommandCursor,
        *,
        pending: PendingPair | None = None,
        operators: Mapping[str, bytes] | None = None,
        settings: Mapping[str, Any] | None = None,
        key: InstalledKey | None = None,
        recipient: RecipientKey | None = None,
        forget: bool = False,
        retiring: InstalledKey | None = None,
        forget_retiring: bool = False,
        forget_pending: bool = False,
    ) -> None:
        """Write what one command changed together with its number and receipt.

        A new key (with a fresh recipient key) also destroys the pair that waited for its API key.

        Args:
            forget: destroy the key, and one that retires.
            forget_retiring, forget_pending: destroy only that one.
        """
        put = [self._record("applied", cursor.to_record())]
        if settings is not None:
            put.append(self._record("settings", json.dumps(dict(settings), sort_keys=True)))
        if key is not None:
            put.append(self._key_record(self._key_id, key, "key"))
        if retiring is not None:
            put.append(self._key_record(self._retiring_id, retiring, "retiring"))
        if recipient is not None:
            put.append(self._recipient_record(recipient))
        if operators is not None:
            put.append(self._record("pairing", _paired(operators)))
        if pending is not None:
            body = pending_pair_to_record(pending)
            put.append(
                self._record(self._pending_id, body, name=pending.id, type_=pending.type.value, purpose="pending")
            )
        gone = [self._key_id] if forget else []
        gone += [self._retiring_id] if forget or forget_retiring else []
        # A key that was only verified again comes without a fresh recipient key.
        installed = key is not None and recipient is not None
        gone += [self._pending_id] if forget_pending or installed else []
        self._vault.update(put, [record_id for record_id in gone if self._has(record_id)])

    def _key_record(self, record_id: str, key: InstalledKey, purpose: str) -> NewRecord:
        body = {
            "name": key.pair.name,
            "type": key.pair.type.value,
            "api_key": key.pair.api_key.reveal(),
            "secret": key.pair.secret.reveal(),
            "uid": key.uid,
            "allow": list(key.allow),
            "card": key_card_to_json(key.card),
        }
        return self._record(
            record_id,
            json.dumps(body, sort_keys=True),
            name=key.pair.name,
            type_=key.pair.type.value,
            purpose=purpose,
        )

    def _recipient_record(self, key: RecipientKey) -> NewRecord:
        return self._record(f"recipient/{self.account}", key.private_bytes(), name=key.key_id, purpose="recipient")

    def _record(
        self, record_id: str, body: str | Secret, *, name: str = "", type_: str = "", purpose: str = ""
    ) -> NewRecord:
        return NewRecord(
            record_id=record_id if "/" in record_id else f"{record_id}/{self.account}",
            account=self.account,
            exchange=self.exchange,
            role=Role.ROBOT.value,
            name=name or record_id.split("/")[0],
            type=type_ or record_id.split("/")[0],
            plaintext=body if isinstance(body, Secret) else Secret(body),
            erasable=bool(purpose),
            created_at=self._clock.now_ms(),
            purpose=purpose,
        )

    def _read(self, name: str) -> dict[str, Any] | None:
        record_id = f"{name}/{self.account}"
        if all(meta.record_id != record_id for meta in self._vault.records()):
            return None
        value: dict[str, Any] = json.loads(self._vault.get(record_id).reveal_bytes())
        return value

    @classmethod
    def provision(
        cls, account: str, exchange: str, vault: VaultPort, clock: Clock, operators: Mapping[str, bytes]
    ) -> RobotVault:
        """Fill a new vault: the robot's identity, its first recipient key, the operators it obeys."""
        robot = cls(account, exchange, vault, clock)
        vault.update(
            [
                robot._record(IDENTITY, Identity.generate().private()),
                robot._record("pairing", _paired(operators)),
                robot._record("applied", CommandCursor().to_record()),
                robot._recipient_record(RecipientKey.generate()),
            ]
        )
        return robot


def _paired(operators: Mapping[str, bytes]) -> str:
    return json.dumps({name: base64.b64encode(public).decode() for name, public in operators.items()}, sort_keys=True)
