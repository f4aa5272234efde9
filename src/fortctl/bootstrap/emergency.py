"""Read an account's keys in an emergency: from vaults that open by themselves; of others, the names in their headers.

Nothing here needs a person. What cannot be read is left out, and the panic reports it. Adapters are imported where they
are used, in the thread that uses them: the robot is halted meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from fortctl.bootstrap.deadline import UNREADABLE
from fortctl.bootstrap.emergency_config import EmergencyConfig
from fortctl.bootstrap.emergency_vaults import EmergencyVaults
from fortctl.config.home import Home
from fortctl.errors import NotFoundError
from fortctl.model import KeyPair, KeyType
from fortctl.secret import Secret
from fortctl.services.panic.known_key import NOT_AT_EXCHANGE, KeysRead, KnownKey
from fortctl.system.files import read_regular

if TYPE_CHECKING:
    from fortctl.ports import Latch, RecordMeta
    from fortctl.vault.file import OpenVault

_Name = Literal["site", "robot"]
# Erasable records that are not keys of the exchange.
_NO_KEYS = tuple(f"{purpose}/" for purpose in NOT_AT_EXCHANGE)


class EmergencyReader:
    """Implements :class:`fortctl.services.panic.ports.KeyReader`.

    Args:
        home: the home.
        account: the account.
        config: its configuration, as far as it can be read.
        vaults: its vaults, as far as they open.
        latch: says whether an earlier panic has noted the keys.
    """

    def __init__(
        self, home: Home, account: str, config: EmergencyConfig, vaults: EmergencyVaults, latch: Latch
    ) -> None:
        self._home = home
        self._place = home.robot(account)
        self._account = account
        self._config = config
        self._vaults = vaults
        self._latch = latch

    def site_vault(self) -> KeysRead:
        """Return the site vault's keys, or their names, and the function that makes this home's fingerprints."""
        return self._read("site", self._fingerprint_function())

    def robot_vault(self) -> KeysRead:
        """Return the robot vault's keys, or their names."""
        return self._read("robot", None)

    def robot_card(self) -> Sequence[KnownKey]:
        """Return the key that the robot's card in the mailbox names; empty where it names none.

        Raises:
            FortctlError, OSError, ValueError, KeyError: the mailbox or the card cannot be read.
        """
        mailbox = self._config.open_mailbox()
        if mailbox is None:
            return ()
        try:
            card = mailbox.card(self._account)
        finally:
            mailbox.close()
        key = json.loads(card[0])["key"] if card is not None else None
        return (KnownKey("robot", str(key["name"]), str(key["tail"]), str(key["fingerprint"])),) if key else ()

    def never_had_robot(self) -> bool:
        """Return whether this home certainly never knew a robot's key."""
        entry = self._config.account_entry()
        if self._place.vault.exists():
            return False
        if entry is not None and entry.robot == "none":
            return True
        try:
            records = self._vaults.file("site").header().records
        except UNREADABLE:
            return False
        return all(meta.record_id != f"robot/{self._account}" for meta in records)

    def deliveries(self) -> Sequence[str]:
        """Return when keys were sent to the robot that it has not accepted (RFC 3339).

        Raises:
            FortctlError, OSError: the mailbox cannot be read.
        """
        from fortctl.mailbox.sqlite import created_at, is_delivery
        from fortctl.timestamps import rfc3339

        mailbox = self._config.open_mailbox()
        if mailbox is None:
            return ()
        try:
            rows = [row for row in mailbox.pending(self._account) if row.sealed is not None and is_delivery(row)]
        finally:
            mailbox.close()
        return tuple(str(rfc3339(created_at(row))) for row in rows)

    # -- one vault -------------------------------------------------------------------------------------------------

    def _read(self, name: _Name, fingerprint: Callable[[Secret], str] | None) -> KeysRead:
        keys: list[KnownKey] = []
        try:
            keys += self._keys_in(self._vaults.open(name))
            orphans = self._vaults.file(name).orphaned_keys(self._account)
            return KeysRead(keys, self._roles_of(name, orphans), fingerprint)
        except UNREADABLE:
            pass
        unknown: set[str] = {name}
        # A damaged vault may name fewer keys than were in it: its erasure keys tell the roles of the others.
        with suppress(*UNREADABLE):
            unknown = self._roles_of(name, self._erasure_keys(name))
            keys += self._names_in(name)
            return KeysRead(keys, unknown, fingerprint)
        return KeysRead(keys, {*unknown, name}, fingerprint)

    def _fingerprint_function(self) -> Callable[[Secret], str] | None:
        from fortctl.keys.fingerprint import fingerprint

        try:
            home_key = self._vaults.open("site").get("fingerprint-key").reveal_bytes()
        except UNREADABLE:
            return None
        return lambda api_key: fingerprint(api_key, home_key)

    def _keys_in(self, vault: OpenVault) -> list[KnownKey]:
        """Return the keys of an open vault; of a record that cannot be read, its name."""
        keys = []
        for meta in filter(self._is_key, vault.records()):
            try:
                pair = _pair(vault.get(meta.record_id))
            except NotFoundError:
                if self._names_lost():
                    keys.append(KnownKey(meta.role, meta.name))
            except UNREADABLE:
                keys.append(KnownKey(meta.role, meta.name))
            else:
                keys.append(KnownKey(meta.role, pair.name, pair.api_key.reveal()[-4:], pair=pair))
        return keys

    def _names_in(self, name: _Name) -> list[KnownKey]:
        """Return the keys that a locked vault names. Raises ``FortctlError``, ``OSError``: it cannot be read."""
        header = self._vaults.file(name).header()
        return [
            KnownKey(meta.role, meta.name)
            for meta in filter(self._is_key, header.records)
            if meta.record_id not in header.destroyed or self._names_lost()
        ]

    def _is_key(self, meta: RecordMeta) -> bool:
        return meta.account == self._account and meta.erasable and not meta.record_id.startswith(_NO_KEYS)

    def _names_lost(self) -> bool:
        """Return whether the latch names no keys: an earlier panic may have destroyed them on a full disk."""
        return "keys" not in self._latch.read()

    def _erasure_keys(self, name: _Name) -> set[str]:
        from fortctl.vault.erasure import names

        return names(self._home.erasure if name == "site" else self._place.erasure)

    def _roles_of(self, name: _Name, erasure_keys: set[str]) -> set[str]:
        """Return the roles of the keys to which erasure keys beside a vault belong, whatever the vault names."""
        own = [key.partition("/")[2] for key in erasure_keys if key.startswith(f"{self._account}/")]
        purposes = {file.rpartition("-")[0] for file in own} - set(NOT_AT_EXCHANGE)
        return {"robot" if purpose == "copy" else name for purpose in purposes}


def own_prefix(home: Home, account: str, config: EmergencyConfig) -> str | None:
    """Return the prefix of the robot's client order ids, or None where neither its identity nor its order is there."""
    from fortctl.robot.core.order_ids import prefix_of

    try:
        return prefix_of(str(json.loads(read_regular(home.robot(account).identity))["robot_id"]))
    except UNREADABLE:
        pass
    try:
        return prefix_of(config.read_order().robot_id)
    except UNREADABLE:
        return None


def destroy_copies(home: Home, account: str) -> tuple[str, ...]:
    """Destroy the erasure keys of every copy of the account's keys; return their names.

    Raises:
        OSError: one could not be destroyed; every other one was tried.
    """
    from fortctl.vault.erasure import destroy

    destroyed: list[str] = []
    problem: OSError | None = None
    for root in (home.erasure, home.robot(account).erasure):
        try:
            destroyed += destroy(root, account)
        except OSError as error:
            problem = error
    if problem is not None:
        raise problem
    return tuple(destroyed)


def _pair(record: Secret) -> KeyPair:
    """Return the key of a record, in whichever vault. Raises ``ValueError``, ``KeyError``, ``TypeError``."""
    body = json.loads(record.reveal_bytes())
    return KeyPair(body["name"], KeyType(body["type"]), Secret(body["api_key"]), Secret(body["secret"]))
