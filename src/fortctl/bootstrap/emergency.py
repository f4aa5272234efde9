"""What a panic can read without asking anybody: keys of vaults that open by themselves, names of those that don't.

Nothing here may fail as a whole: what cannot be had is left out, and the panic says so.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from fortctl.bootstrap.deadline import BUSY_MS, ImpatientPrompts, open_board, opened_in_time, read_in_time
from fortctl.bootstrap.unlock import UnlockSources, VaultName
from fortctl.config.file import Config, load_config
from fortctl.config.home import Home, write_private
from fortctl.errors import ConfigError, FortctlError, NotFoundError, RobotUnreachableError
from fortctl.model import KeyPair, KeyType
from fortctl.secret import Secret
from fortctl.system.files import read_regular

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fortctl.cli.options import Globals
    from fortctl.mailbox.panic_order import PanicOrderFile
    from fortctl.mailbox.postgres import PostgresMailbox
    from fortctl.mailbox.sqlite import SqliteMailbox
    from fortctl.ports import Issuer
    from fortctl.robot.storage.latch import LatchFile
    from fortctl.services.panic.known_key import KeysRead, KnownKey
    from fortctl.vault.file import OpenVault, VaultFile

_BROKEN = (FortctlError, OSError, ValueError, KeyError, TypeError)
# Records that can be destroyed and are no keys of the exchange.
_NO_KEYS = ("recipient/", "pending/")


class EmergencyReader:
    """Reaches for what it can of one account.

    Args:
        given: the global options; the operator is never asked.
        home: its home.
        account: the account.
    """

    def __init__(self, given: Globals, home: Home, account: str) -> None:
        self._unlock_sources = UnlockSources(ImpatientPrompts(), given, lambda code, message: None)
        self._home = home
        self._account = account
        self._place = home.robot(account)
        self._exchange: str | None = None
        self._config: tuple[Config | None] | None = None
        self._reading = threading.Lock()
        self._opening: dict[str, threading.Lock] = {who: threading.Lock() for who in ("site", "robot", "issuer")}
        self._opened: dict[str, OpenVault | Exception] = {}

    # -- the configuration -----------------------------------------------------------------------------------------

    def config(self) -> Config | None:
        """Return the configuration, or None where it cannot be read, or not in time."""
        with self._reading:
            if self._config is None:
                self._config = (read_in_time(lambda: load_config(self._home)),)
        return self._config[0]

    def is_remote(self) -> bool:
        """Return whether the robot is on another host, as far as can be known."""
        config = self.config()
        entry = config.accounts.get(self._account) if config is not None else None
        return entry.robot == "remote" if entry is not None else os.path.lexists(self._place.panic_order)

    def exchange(self) -> str:
        """Return the account's target: what the vaults bound their records to, else what is configured.

        Raises:
            ConfigError: neither can be read.
        """
        if self._exchange is None:
            config = self.config()
            entry = config.accounts.get(self._account) if config is not None else None
            self._exchange = entry.exchange if entry is not None else None
        if self._exchange is None:
            raise ConfigError("the account's exchange cannot be read from its vaults or the configuration")
        return self._exchange

    # -- keys ------------------------------------------------------------------------------------------------------

    def site_vault(self) -> KeysRead:
        """Return the site vault's keys, or their names, and what makes this home's fingerprints."""
        return self._keys_of("site", self._site_vault, self._fingerprint_maker())

    def robot_vault(self) -> KeysRead:
        """Return the robot vault's keys, or their names."""
        return self._keys_of("robot", self._robot_vault, None)

    def _keys_of(
        self, role: str, open_vault: Callable[[], OpenVault], fingerprint: Callable[[Secret], str] | None
    ) -> KeysRead:
        from fortctl.services.panic.known_key import KeysRead

        keys: list[KnownKey] = []
        unknown: set[str] = set()
        try:
            keys += self._keys_in(open_vault())
            unknown |= self._held_in(role, self._file(role).orphaned_keys(self._account))
        except _BROKEN:
            # A damaged vault may name fewer keys than were in it: its erasure keys name the roles of the others.
            unknown |= self._held_in(role)
            try:
                keys += self._names_in(role)
            except _BROKEN:
                unknown.add(role)
        return KeysRead(keys, unknown, fingerprint)

    def _fingerprint_maker(self) -> Callable[[Secret], str] | None:
        from fortctl.keys.fingerprint import fingerprint

        try:
            home_key = self._site_vault().get("fingerprint-key").reveal_bytes()
        except _BROKEN:
            return None
        return lambda api_key: fingerprint(api_key, home_key)

    def _held_in(self, role: str, keys: set[str] | None = None) -> set[str]:
        """Return the roles of whose keys there are copies beside a vault, whatever it shows itself.

        Args:
            keys: the erasure keys that are meant; by default all of the account's.
        """
        from fortctl.services.panic.known_key import NOT_AT_EXCHANGE
        from fortctl.vault.erasure import names

        root = self._home.erasure if role == "site" else self._place.erasure
        meant = names(root) if keys is None else keys
        own = [name.partition("/") for name in meant if name.startswith(f"{self._account}/")]
        purposes = {file.rpartition("-")[0] for _account, _slash, file in own} - set(NOT_AT_EXCHANGE)
        return {"robot" if purpose == "copy" else role for purpose in purposes}

    def deliveries(self) -> tuple[str, ...]:
        """Return when keys were sent to the robot that it has not taken up. Raises ``FortctlError``, ``OSError``."""
        from fortctl.mailbox.sqlite import created_at, is_delivery
        from fortctl.timestamps import rfc3339

        mailbox = self.mailbox()
        if mailbox is None:
            return ()
        try:
            rows = [row for row in mailbox.pending(self._account) if row.sealed is not None and is_delivery(row)]
        finally:
            mailbox.close()
        return tuple(str(rfc3339(created_at(row))) for row in rows)

    def never_had_robot(self) -> bool:
        """Return whether this home certainly never knew a robot's key."""
        config = self.config()
        entry = config.accounts.get(self._account) if config is not None else None
        if self._place.vault.exists():
            return False
        if entry is not None and entry.robot == "none":
            return True
        try:
            records = self._file("site").header().records
        except _BROKEN:
            return False
        return all(meta.record_id != f"robot/{self._account}" for meta in records)

    def _site_vault(self) -> OpenVault:
        return self._open(self._home.vault, self._home.erasure, self._home.keyfile, "site")

    def _robot_vault(self) -> OpenVault:
        return self._open(self._place.vault, self._place.erasure, self._place.keyfile, "robot")

    def _open(self, path: Path, erasure: Path, keyfile: Path, who: VaultName) -> OpenVault:
        """Open a vault with what needs nobody; once, for what it is opened with may take long, or hang."""
        with self._opening[who]:
            if who not in self._opened:
                try:
                    opened = opened_in_time(lambda: self._unlocked(path, erasure, keyfile, who))
                    self._opened[who] = self._learn(opened)
                except (FortctlError, OSError) as error:
                    self._opened[who] = error
        found = self._opened[who]
        if isinstance(found, Exception):
            raise found
        return found

    def _unlocked(self, path: Path, erasure: Path, keyfile: Path, who: VaultName) -> OpenVault:
        """Unlock a vault with its key file, else with a passphrase file that was named."""
        from fortctl.vault.file import VaultFile
        from fortctl.vault.slots import KeyFile

        file = VaultFile(path, erasure)
        if keyfile.exists():
            with suppress(FortctlError, OSError):
                return file.unlock([KeyFile(keyfile)])
        kinds = [slot.kind for slot in file.header().slots if slot.kind == "passphrase"]
        return file.unlock([self._unlock_sources.find(who, kinds, keyfile)])

    def _learn(self, vault: OpenVault) -> OpenVault:
        own = [meta.exchange for meta in vault.records() if meta.account == self._account and meta.exchange]
        self._exchange = self._exchange or next(iter(own), None)
        return vault

    def _keys_in(self, vault: OpenVault) -> list[KnownKey]:
        from fortctl.services.panic.known_key import KnownKey

        keys = []
        for meta in vault.records():
            if meta.account != self._account or not meta.erasable or meta.record_id.startswith(_NO_KEYS):
                continue
            try:
                pair = _pair(vault.get(meta.record_id))
            except NotFoundError:
                keys += [KnownKey(meta.role, meta.name)] if self._names_lost() else []
                continue
            except _BROKEN:
                keys.append(KnownKey(meta.role, meta.name))
                continue
            keys.append(KnownKey(meta.role, pair.name, pair.api_key.reveal()[-4:], pair=pair))
        return keys

    def _names_in(self, role: str) -> list[KnownKey]:
        """Return what a locked vault shows of its keys. Raises ``FortctlError``, ``OSError``: it shows nothing."""
        from fortctl.services.panic.known_key import KnownKey

        header = self._file(role).header()
        return [
            KnownKey(meta.role, meta.name)
            for meta in header.records
            if meta.account == self._account
            and meta.erasable
            and not meta.record_id.startswith(_NO_KEYS)
            and (meta.record_id not in header.destroyed or self._names_lost())
        ]

    def _names_lost(self) -> bool:
        """Return whether the latch names no keys: an earlier panic may have destroyed them on a full disk."""
        return "keys" not in self._latch().read()

    def _latch(self) -> LatchFile:
        from fortctl.robot.storage.latch import LatchFile

        return LatchFile(self._place.path)

    def _file(self, role: str) -> VaultFile:
        from fortctl.vault.file import VaultFile

        place = self._home if role == "site" else self._place
        return VaultFile(place.vault, place.erasure)

    def robot_card(self) -> list[KnownKey]:
        """Return the robot's key as its card in the mailbox shows it, with its tail; empty where it shows none."""
        from fortctl.services.panic.known_key import KnownKey

        mailbox = self.mailbox()
        found = mailbox.card(self._account) if mailbox is not None else None
        if found is None:
            return []
        key = json.loads(found[0])["key"]
        return [KnownKey("robot", str(key["name"]), str(key["tail"]), str(key["fingerprint"]))] if key else []

    def own_prefix(self) -> str | None:
        """Return the prefix of the robot's orders."""
        from fortctl.robot.core.order_ids import prefix_of

        try:
            return prefix_of(str(json.loads(read_regular(self._place.identity))["robot_id"]))
        except _BROKEN:
            pass
        try:
            return prefix_of(self.read_order().robot_id)
        except _BROKEN:
            return None

    def destroy(self) -> tuple[str, ...]:
        """Destroy every copy's erasure keys. Raises ``OSError``: one could not be; every other one was tried."""
        from fortctl.vault.erasure import destroy

        done: list[str] = []
        problem: OSError | None = None
        for root in (self._home.erasure, self._place.erasure):
            try:
                done += destroy(root, self._account)
            except OSError as error:
                problem = error
        if problem is not None:
            raise problem
        return tuple(done)

    # -- stores ----------------------------------------------------------------------------------------------------

    def mailbox(self) -> SqliteMailbox | PostgresMailbox | None:
        """Open the account's mailbox; None where there is none."""
        url = self._mailbox_url()
        if url:
            return open_board(url)
        if not self._home.mailbox.exists():
            return None
        from fortctl.mailbox.sqlite import SqliteMailbox

        return SqliteMailbox(self._home.mailbox, busy_timeout_ms=BUSY_MS)

    def _mailbox_url(self) -> str:
        config = self.config()
        if config is not None:
            return config.mailbox
        try:
            return self.read_order().mailbox
        except _BROKEN:
            return ""

    def empty_mailbox(self, now_ms: int) -> None:
        mailbox = self.mailbox()
        if mailbox is not None:
            # The card of a robot on another host shows whether it came up since it was halted.
            mailbox.withdraw(self._account, now_ms, keep_card=self.is_remote())
            mailbox.close()

    def issuer(self) -> Issuer | None:
        """Return the issuer where its vault opens without asking; None where a person issues the keys.

        Raises:
            FortctlError: its vault does not open.
        """
        from fortctl.bootstrap.issuer import issuer_kind, sub_account_issuer
        from fortctl.services.keys.issuer import SUB_ACCOUNT, read_master

        if issuer_kind(self._home, self._account) != SUB_ACCOUNT:
            return None
        place = self._home.issuer
        master = read_master(self._open(place.vault, place.erasure, place.keyfile, "issuer"), self._account, None)
        if master is None:
            return None
        return sub_account_issuer(self.exchange(), self._home.path, master.pair, master.email)

    # -- the order for a robot on another host ---------------------------------------------------------------------

    def read_order(self) -> PanicOrderFile:
        """Return the order that lies in the home. Raises ``OSError``, ``VaultDamagedError``."""
        from fortctl.mailbox.panic_order import PanicOrderFile

        return PanicOrderFile.from_bytes(read_regular(self._place.panic_order))

    def order(self) -> PanicOrderFile:
        """Return the order of this panic: the one that it has sent before, else the pre-signed one, else a fresh one.

        One that was sent may still wait for the robot, or its answer lies there: another would latch the robot again.

        Raises:
            RobotUnreachableError: there is none, and the site's vault does not open by itself.
        """
        from fortctl.mailbox.panic_order import PanicOrderFile

        with suppress(*_BROKEN):
            return PanicOrderFile.from_bytes(str(self._latch().read()["order"]).encode())
        with suppress(*_BROKEN):
            return self.read_order()
        with suppress(*_BROKEN):
            return self.fresh()
        raise RobotUnreachableError(
            "there is no pre-signed order for the robot", hint="panic on the robot's own host: nothing else stops it"
        )

    def used(self, order: PanicOrderFile) -> None:
        """Note that an order was sent, there and in the latch; best effort."""
        sent = replace(order, used=True).as_bytes()
        with suppress(*_BROKEN):
            self._latch().update(lambda facts: {**facts, "order": sent.decode()})
        with suppress(*_BROKEN):
            write_private(self._place.panic_order, sent)

    def sent(self, order: PanicOrderFile) -> bool:
        return order.nonce in str(self._latch().read().get("order", ""))

    def fresh(self) -> PanicOrderFile:
        """Sign an order with the operator's identity. Raises ``FortctlError``: the site's vault does not open."""
        from base64 import b64decode

        from fortctl.mailbox.crypto import Identity
        from fortctl.mailbox.panic_order import sign_orders

        vault = self._site_vault()
        pin = json.loads(vault.get(f"robot/{self._account}").reveal_bytes())
        operator = Identity.from_private(vault.get("identity/operator"))
        url = self._mailbox_url()
        return sign_orders(operator, self._account, pin["robot_id"], b64decode(pin["public"]), url)


def _pair(record: Secret) -> KeyPair:
    """Return the key of a record, in whichever vault. Raises ``ValueError``, ``KeyError``, ``TypeError``."""
    body = json.loads(record.reveal_bytes())
    return KeyPair(body["name"], KeyType(body["type"]), Secret(body["api_key"]), Secret(body["secret"]))
