"""What the site's vault holds for one account, as typed values over the vault port.

Records: ``identity/operator`` and ``fingerprint-key`` (one a home), and for each account ``key/ACCOUNT/site``,
``retiring/ACCOUNT/site`` (a key that a rotation replaced, until its deletion is proved),
``copy/ACCOUNT/robot`` (only while there is no site key), ``robot/ACCOUNT`` (the pinned robot) and ``uid/ACCOUNT``.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from fortctl.errors import ConfigError, NotFoundError
from fortctl.keys.fingerprint import fingerprint
from fortctl.keys.generation import pending_pair_from_record, pending_pair_to_record
from fortctl.mailbox.crypto import Identity
from fortctl.model import KeyCard, Role
from fortctl.ports import NewRecord
from fortctl.secret import Secret
from fortctl.services.stored_key import decode_key, encode_key

if TYPE_CHECKING:
    from fortctl.model import KeyPair, KeyVerdict, PendingPair
    from fortctl.ports import AuditLog, Clock, RecordMeta, VaultPort
    from fortctl.services.stored_key import StoredKey

OPERATOR = "identity/operator"
FINGERPRINT_KEY = "fingerprint-key"
AUDIT_KEY = "audit-key"


class RobotPin(NamedTuple):
    """The robot that this operator trusts for an account. ``generation`` is the highest it has shown."""

    robot_id: str
    public: bytes
    generation: int = 0


class SiteVault:
    """One account's part of the site's vault.

    Args:
        account: the account's name.
        exchange: the pinned exchange target as configured; a record pinned elsewhere is refused before it is decrypted.
        vault: the unlocked vault.
        audit: the audit log.
        clock: the clock.
    """

    def __init__(self, account: str, exchange: str, vault: VaultPort, audit: AuditLog, clock: Clock) -> None:
        self.account = account
        self.exchange = exchange
        self._vault = vault
        self._audit = audit
        self._clock = clock

    @property
    def generation(self) -> int:
        """The vault's generation."""
        return self._vault.generation

    @property
    def _site_id(self) -> str:
        return f"key/{self.account}/site"

    @property
    def _copy_id(self) -> str:
        return f"copy/{self.account}/robot"

    @property
    def _retiring_id(self) -> str:
        return f"retiring/{self.account}/site"

    @property
    def _pending_id(self) -> str:
        return f"pending/{self.account}/site"

    def operator(self) -> Identity:
        return Identity.from_private(self._vault.get(OPERATOR))

    def fingerprint_key(self) -> bytes:
        return self._vault.get(FINGERPRINT_KEY).reveal_bytes()

    def fingerprint(self, pair: KeyPair) -> str:
        return fingerprint(pair.api_key, self.fingerprint_key())

    def has(self, record_id: str) -> bool:
        return self._meta(record_id) is not None

    def _meta(self, record_id: str) -> RecordMeta | None:
        return next((meta for meta in self._vault.records() if meta.record_id == record_id), None)

    def site_key(self) -> StoredKey | None:
        return self._key(self._site_id)

    def robot_copy(self) -> StoredKey | None:
        return self._key(self._copy_id)

    def retiring(self) -> StoredKey | None:
        """Return the site key that a rotation replaced and whose deletion is not proved yet, or None."""
        return self._key(self._retiring_id)

    def uid(self) -> int | None:
        """Return the account's pinned number at the exchange."""
        meta = self._meta(f"uid/{self.account}")
        # The number at another exchange says nothing of this one.
        there = meta is not None and meta.exchange == self.exchange
        return int(self._vault.get(f"uid/{self.account}").reveal()) if there else None

    def robot(self) -> RobotPin | None:
        record_id = f"robot/{self.account}"
        if not self.has(record_id):
            return None
        fields = json.loads(self._vault.get(record_id).reveal_bytes())
        return RobotPin(fields["robot_id"], base64.b64decode(fields["public"]), int(fields["generation"]))

    def pin_robot(self, pin: RobotPin) -> None:
        """Keep the robot's identity (and the highest generation that it has shown)."""
        body = {
            "robot_id": pin.robot_id,
            "public": base64.b64encode(pin.public).decode(),
            "generation": pin.generation,
        }
        record = self._record(f"robot/{self.account}", body, role="robot", name=pin.robot_id, type_="pairing")
        self._write("robot pinned", [record], [], {"role": "robot"})

    def introduction(self) -> str | None:
        """Return the pairing that waits for its code to be compared, or None."""
        record_id = f"pairing/{self.account}"
        return self._vault.get(record_id).reveal() if self.has(record_id) else None

    def store_introduction(self, text: str | None) -> None:
        """Keep a pairing until its code was compared; None forgets it."""
        record_id = f"pairing/{self.account}"
        if text is None:
            gone = [record_id] if self.has(record_id) else []
            self._write("pairing closed", [], gone, {})
            return
        record = self._record(record_id, text, role="robot", name="pairing", type_="pairing")
        self._write("pairing begun", [record], [], {})

    def store_site_key(self, key: StoredKey, what: str, *, retiring: StoredKey | None = None) -> None:
        """Store the site key; a copy of the robot's key is destroyed in the same write.

        Args:
            retiring: the key before, kept only to prove its deletion.
        """
        put = [self._key_record(self._site_id, key, Role.SITE, "site"), *self._uid_records(key.uid)]
        if retiring is not None:
            put.append(self._key_record(self._retiring_id, retiring, Role.SITE, "retiring"))
        # The key that was waiting for its API key is in use now, or another was entered in its place.
        delete = [record_id for record_id in (self._copy_id, self._pending_id) if self.has(record_id)]
        self._write(what, put, delete, {"role": "site", "fingerprint": self.fingerprint(key.pair)})

    def store_robot_copy(self, key: StoredKey) -> None:
        """Store a copy of the robot's key for reading (only while there is no site key)."""
        put = [self._key_record(self._copy_id, key, Role.ROBOT, "copy"), *self._uid_records(key.uid)]
        self._write(
            "robot key copied for reading", put, [], {"role": "robot", "fingerprint": self.fingerprint(key.pair)}
        )

    def pin_uid(self, uid: int) -> None:
        records = self._uid_records(uid)
        if records:
            self._write("account pinned", records, [], {})

    def record_verdict(self, verdict: KeyVerdict, *, entered: bool = False) -> None:
        """Remember what asking about the key that reads has shown; of one that was destroyed meanwhile, nothing.

        Args:
            entered: a person has just entered the key: what it may do now is accepted.
        """
        for record_id, role, purpose in ((self._site_id, Role.SITE, "site"), (self._copy_id, Role.ROBOT, "copy")):
            key = self._key(record_id)
            if key is None:
                continue
            judged = key.with_verdict(verdict, self._clock.now_ms())
            record = self._key_record(record_id, judged.accepting() if entered else judged, role, purpose)
            what = "key accepted" if verdict.accepted else "key rejected"
            facts = {"role": role.value, "fingerprint": self.fingerprint(key.pair)}
            with suppress(NotFoundError):
                self._write(what, [replace(record, renews=True)], [], facts)
            return

    def pending(self) -> PendingPair | None:
        """Return the site's key pair that waits for its API key, or None."""
        record_id = self._pending_id
        if not self.has(record_id):
            return None
        try:
            return pending_pair_from_record(self._vault.get(record_id))
        except NotFoundError:
            return None

    def store_pending(self, pair: PendingPair) -> None:
        """Keep a key pair until its API key comes; one that waited before is destroyed."""
        record = NewRecord(
            record_id=self._pending_id,
            account=self.account,
            exchange=self.exchange,
            role=Role.SITE.value,
            name=pair.id,
            type=pair.type.value,
            plaintext=pending_pair_to_record(pair),
            erasable=True,
            created_at=pair.made_at,
            purpose="pending",
        )
        self._write("key pair made", [record], [], {"role": "site", "pending": pair.id})

    def destroy_pending(self) -> None:
        """Destroy the key pair that waits for its API key."""
        self._write("key pair destroyed", [], [self._pending_id], {"role": "site"})

    def uids_elsewhere(self) -> dict[int, str]:
        """Return the pinned numbers of this home's other accounts at the same exchange, with the accounts' names."""
        accounts = {}
        for meta in self._vault.records():
            if meta.record_id.startswith("uid/") and meta.account != self.account and meta.exchange == self.exchange:
                accounts[int(self._vault.get(meta.record_id).reveal())] = meta.account
        return accounts

    def known_elsewhere(self, pair: KeyPair) -> str | None:
        """Return the account of this home, at another exchange, that has this very API key, or None."""
        for meta in self._vault.records():
            if meta.erasable and meta.exchange != self.exchange and meta.record_id.startswith(("key/", "copy/")):
                try:
                    stored = decode_key(self._vault.get(meta.record_id))
                except NotFoundError:
                    continue
                if stored.pair.api_key == pair.api_key:
                    return meta.account
        return None

    def destroy_site_key(self) -> str:
        """Destroy the site key; return its fingerprint. Raises ``NotFoundError`` when there is none."""
        key = self.site_key()
        if key is None:
            raise NotFoundError(f"account {self.account} has no site key", hint="see 'fortctl keys list'")
        destroyed = self.fingerprint(key.pair)
        gone = [self._site_id, *([self._retiring_id] if self.has(self._retiring_id) else [])]
        self._write("key deleted", [], gone, {"role": "site", "fingerprint": destroyed})
        return destroyed

    def destroy_retiring(self) -> bool:
        """Destroy the site key that a rotation replaced, if there is one; return whether there was."""
        if not self.has(self._retiring_id):
            return False
        self._write("replaced key destroyed", [], [self._retiring_id], {"role": "site"})
        return True

    def destroy_robot_copy(self) -> bool:
        """Destroy the copy of the robot's key, if there is one; return whether there was."""
        if not self.has(self._copy_id):
            return False
        self._write("copy of the robot key destroyed", [], [self._copy_id], {"role": "robot"})
        return True

    def forget_account(self) -> None:
        """Drop every record of the account."""
        own = [meta.record_id for meta in self._vault.records() if meta.account == self.account]
        if own:
            self._write("account removed", [], own, {})

    def card(self, role: Role, key: StoredKey) -> KeyCard:
        """Return all of a key that may be shown."""
        restrictions = key.restrictions
        return KeyCard(
            role=role,
            name=key.pair.name,
            type=key.pair.type,
            fingerprint=self.fingerprint(key.pair),
            tail=key.pair.api_key.reveal()[-4:],
            status=key.status,
            permissions=restrictions.permissions() if restrictions else (),
            ip_restricted=restrictions.ip_restricted if restrictions else None,
            held_by=("site",),
            created_at=(restrictions.created_at if restrictions else None) or key.added_at,
            verified_at=key.verified_at,
            expires_at=restrictions.trading_expires_at if restrictions else None,
            rejected_since=key.rejected_since,
            permissions_at=key.restrictions_at,
            drift=key.drift,
        )

    def _uid_records(self, uid: int | None) -> list[NewRecord]:
        if uid is None or self.uid() == uid:
            return []
        return [self._record(f"uid/{self.account}", str(uid), role="", name="uid", type_="uid")]

    def _key(self, record_id: str) -> StoredKey | None:
        meta = self._meta(record_id)
        if meta is None or self._vault.is_destroyed(record_id):
            return None
        if meta.exchange != self.exchange:
            raise ConfigError(
                f"account {self.account} is set to {self.exchange}, but its key was entered for {meta.exchange}",
                hint="set the exchange back in config.toml; or destroy the key ('fortctl keys delete --role"
                f" {meta.role} --without-unlocking') and enter one of the new target",
            )
        try:
            return decode_key(self._vault.get(record_id))
        except NotFoundError:
            return None

    def _key_record(self, record_id: str, key: StoredKey, role: Role, purpose: str) -> NewRecord:
        return NewRecord(
            record_id=record_id,
            account=self.account,
            exchange=self.exchange,
            role=role.value,
            name=key.pair.name,
            type=key.pair.type.value,
            plaintext=encode_key(key),
            erasable=True,
            created_at=self._clock.now_ms(),
            purpose=purpose,
        )

    def _record(self, record_id: str, body: Any, *, role: str, name: str, type_: str) -> NewRecord:
        text = body if isinstance(body, str) else json.dumps(body, sort_keys=True)
        return NewRecord(
            record_id=record_id,
            account=self.account,
            exchange=self.exchange,
            role=role,
            name=name,
            type=type_,
            plaintext=Secret(text),
            erasable=False,
            created_at=self._clock.now_ms(),
        )

    def _write(self, what: str, put: Sequence[NewRecord], delete: Sequence[str], facts: Mapping[str, Any]) -> None:
        self._vault.update(put, delete, audit=audited(self._audit, what, self.account, facts))


def audited(audit: AuditLog, what: str, account: str, facts: Mapping[str, Any]) -> Callable[[str, int], None]:
    """Return the callback that writes a vault change's intent and result into the audit log."""

    def write(phase: str, generation: int) -> None:
        audit.append(what, account=account, result=phase, generation=generation, **facts)

    return write


def create_site_vault(vault: VaultPort, exchange: str, clock: Clock, audit: AuditLog, account: str) -> None:
    """Fill a new site vault: the operator's identity, the fingerprint key, the audit key."""
    now, audit_key = clock.now_ms(), os.urandom(32)
    audit.seal_with(Secret(audit_key))

    def record(record_id: str, plaintext: Secret) -> NewRecord:
        return NewRecord(record_id, "", exchange, "", record_id, record_id.split("/")[0], plaintext, False, now)

    vault.update(
        [
            record(OPERATOR, Identity.generate().private()),
            record(FINGERPRINT_KEY, Secret(os.urandom(32))),
            record(AUDIT_KEY, Secret(audit_key)),
        ],
        audit=audited(audit, "home made", account, {}),
    )
