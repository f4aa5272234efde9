"""Wires the panic. Nothing here may fail as a whole: what cannot be had is left out, and the panic says so."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fortctl.clock import SystemClock
from fortctl.config import Home, load_config
from fortctl.errors import ConfigError, FortctlError, NotFound
from fortctl.model import KeyPair

if TYPE_CHECKING:
    from fortctl.commands.context import App
    from fortctl.ports import Exchange
    from fortctl.services.panic import KnownKey, PanicPorts


def accounts_of(app: App, every: bool) -> list[str]:
    """Return the accounts that a panic is about.

    An account counts as there when the configuration names it or its robot's folder exists, so that a broken
    configuration stops no panic.
    """
    home = Home(app.globals.home)
    folder = home.path / "robots"
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    try:
        names |= set(load_config(home).accounts)
    except (ConfigError, NotFound, OSError):
        pass
    if every and names:
        return sorted(names)
    if app.globals.account not in names:
        raise NotFound(f"there is no account {app.globals.account}", hint="see 'fortctl accounts list'")
    return [app.globals.account]


def panic_ports(app: App) -> PanicPorts:
    """Return what can be done for one account."""
    from fortctl.robot.latch import LatchFile
    from fortctl.robot.process import LocalRobot
    from fortctl.services.panic import PanicPorts

    home, account = Home(app.globals.home), app.globals.account
    folder = home.robot(account).path
    emergency = _Emergency(app, home, account)
    return PanicPorts(
        account=account,
        latch=LatchFile(folder),
        process=LocalRobot(home.path, account, folder),
        read_keys=emergency.read_keys,
        own_prefix=emergency.own_prefix,
        destroy=emergency.destroy,
        withdraw_card=emergency.withdraw_card,
        connect=emergency.connect,
        audit=emergency.audit,
        clock=SystemClock(),
        who=getpass.getuser(),
    )


class _Emergency:
    """Reaches for what it can without a passphrase: both vaults through their key-file slots."""

    def __init__(self, app: App, home: Home, account: str) -> None:
        self._app = app
        self._home = home
        self._account = account
        self._exchange: str | None = None

    def read_keys(self) -> list[KnownKey]:
        found: list[KnownKey] = []
        for read in (self._site_keys, self._robot_keys):
            try:
                found += read()
            except (FortctlError, OSError, ValueError, KeyError):
                found += self._names_only("robot" if read == self._robot_keys else "site")
        unique = {(key.role, key.name, key.tail): key for key in found}
        return list(unique.values())

    def _site_keys(self) -> list[KnownKey]:
        from fortctl.services.custody import decode_key
        from fortctl.services.panic import KnownKey
        from fortctl.vault.seal import fingerprint
        from fortctl.vault.slots import KeyFile
        from fortctl.vault.store import VaultFile

        vault = VaultFile(self._home.vault, self._home.erasure).unlock([KeyFile(self._home.keyfile)])
        shown = vault.get("fingerprint-key").reveal_bytes()
        found = []
        for meta in vault.records():
            if meta.account == self._account and meta.erasable:
                self._exchange = meta.exchange
                try:
                    pair = decode_key(vault.get(meta.record_id)).pair
                except NotFound:
                    continue
                tail = pair.api_key.reveal()[-4:]
                found.append(KnownKey(meta.role, pair.name, tail, fingerprint(pair.api_key, shown), pair))
        return found

    def _robot_keys(self) -> list[KnownKey]:
        from fortctl.robot.strongbox import StrongBox
        from fortctl.services.panic import KnownKey
        from fortctl.vault.slots import KeyFile
        from fortctl.vault.store import VaultFile

        place = self._home.robot(self._account)
        file = VaultFile(place.vault, place.erasure)
        if not file.exists():
            return []
        vault = file.unlock([KeyFile(place.keyfile)])
        exchange = next((meta.exchange for meta in vault.records() if meta.role == "robot"), "")
        self._exchange = self._exchange or exchange
        key = StrongBox(self._account, exchange, vault, SystemClock()).key()
        if key is None:
            return []
        return [KnownKey("robot", key.pair.name, key.card.tail, key.card.fingerprint, key.pair)]

    def _names_only(self, role: str) -> list[KnownKey]:
        """Return what a locked vault shows of its keys; the robot's card in the mailbox shows its tail too."""
        from fortctl.services.panic import KnownKey
        from fortctl.vault.store import VaultFile

        if role == "robot":
            try:
                card = self._card()
            except (FortctlError, OSError, ValueError):
                card = None
            if card is not None and card.get("key"):
                key = card["key"]
                return [KnownKey("robot", key["name"], key["tail"], key["fingerprint"])]
        place = self._home if role == "site" else self._home.robot(self._account)
        try:
            metas = VaultFile(place.vault, place.erasure).header().records
        except (FortctlError, OSError):
            return []
        return [
            KnownKey(meta.role, meta.name)
            for meta in metas
            if meta.account == self._account and meta.erasable and not meta.record_id.startswith("recipient/")
        ]

    def _card(self) -> dict[str, Any] | None:
        from fortctl.store.mailbox import SqliteMailbox

        if not self._home.mailbox.exists():
            return None
        found = SqliteMailbox(self._home.mailbox).card(self._account)
        card: dict[str, Any] | None = json.loads(found[0]) if found else None
        return card

    def own_prefix(self) -> str | None:
        from fortctl.robot.ids import prefix_of

        try:
            identity = json.loads(self._home.robot(self._account).identity.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return prefix_of(str(identity["robot_id"]))

    def destroy(self) -> tuple[str, ...]:
        from fortctl.vault.erasure import destroy

        return (
            *destroy(self._home.erasure, self._account),
            *destroy(self._home.robot(self._account).erasure, self._account),
        )

    def withdraw_card(self) -> None:
        from fortctl.store.mailbox import SqliteMailbox

        if self._home.mailbox.exists():
            SqliteMailbox(self._home.mailbox).withdraw(self._account, SystemClock().now_ms())

    def connect(self, pair: KeyPair) -> Exchange:
        from fortctl.exchange.client import BinanceExchange
        from fortctl.exchange.targets import resolve

        exchange = self._exchange
        if exchange is None:
            exchange = load_config(self._home).accounts[self._account].exchange
        return BinanceExchange(resolve(exchange, self._home.path), pair)

    def audit(self, what: str, facts: Mapping[str, Any]) -> None:
        from fortctl.audit import AuditFile

        AuditFile(self._home.audit).append(what, account=self._account, result="done", best_effort=True, **facts)
