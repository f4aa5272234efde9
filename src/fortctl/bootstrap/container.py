"""Make adapters and services on first use; each property imports what it makes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fortctl.bootstrap.account_registry import AccountRegistryFile
from fortctl.config.file import Config, load_config, save_config
from fortctl.config.home import Home, RobotHome
from fortctl.errors import FortctlError, NotFoundError
from fortctl.secret import Secret
from fortctl.system.clock import SystemClock
from fortctl.system.files import PrivateFile, write_private
from fortctl.timestamps import rfc3339

if TYPE_CHECKING:
    from fortctl.bootstrap.unlock import UnlockSources, Warn
    from fortctl.config.settings import HomeSettings
    from fortctl.exchange.connection_pool import ConnectionPool
    from fortctl.exchange.targets import ExchangeTarget
    from fortctl.mailbox.postgres import PostgresMailbox
    from fortctl.mailbox.sqlite import SqliteMailbox
    from fortctl.model import KeyCard, KeyPair, Role
    from fortctl.ports import Exchange, Latch, RobotProcess
    from fortctl.robot.process.log_reader import LogReader
    from fortctl.services.account_views import AccountViews
    from fortctl.services.accounts import AccountEntry, AccountService
    from fortctl.services.hooks import Hooks
    from fortctl.services.keys.service import KeyService
    from fortctl.services.panic.presigned_order import PanicOrders
    from fortctl.services.robot.client import RobotClient
    from fortctl.services.robot.pairing import PairingService
    from fortctl.services.robot.service import RobotService
    from fortctl.services.robot.status import RobotStatusReader
    from fortctl.services.site_vault import SiteVault
    from fortctl.services.vault import VaultService
    from fortctl.store.audit_log import AuditLogFile
    from fortctl.store.operations import SqliteOperations
    from fortctl.store.request_weight import RequestWeightStore
    from fortctl.terminal.global_options import Globals
    from fortctl.terminal.prompts import Prompts
    from fortctl.vault.file import OpenVault, VaultFile
    from fortctl.vault.slots import Keyring


class Container:
    """The adapters and services of one command or process, each made on first use.

    Args:
        given: the global options.
        prompts: asks the operator.
        warn: receives ``(code, message)``.
    """

    def __init__(self, given: Globals, prompts: Prompts, warn: Warn) -> None:
        self._given = given
        self._prompts = prompts
        self.warn = warn
        self.clock = SystemClock()
        self.home = Home(given.home)
        self.account = given.account
        # Commands that stop a robot only warn when the vault and the audit log disagree.
        self.accept_any_generation = False

    def for_account(self, account: str) -> Container:
        """Return a container for another account of the same home."""
        return Container(self._given._replace(account=account), self._prompts, self.warn)

    def without_prompts(self) -> Container:
        """Return a container for the same account that never asks the operator."""
        from fortctl.terminal.prompts import Prompts

        return Container(self._given, Prompts(no_input=True), self.warn)

    # -- the home --------------------------------------------------------------------------------------------------

    @cached_property
    def config(self) -> Config:
        return load_config(self.home)

    @property
    def settings(self) -> HomeSettings:
        """The settings in force for the account that the command is about."""
        return self.config.settings_for(self.account)

    def reload_robots(self) -> list[str]:
        """Have the robots that run on this machine read the configuration again; return their accounts."""
        from fortctl.robot.process.local_robot import query
        from fortctl.robot.process.owner_lock import owner_of

        reloaded = []
        for name in self.config.accounts:
            folder = self.home.robot(name).path
            if owner_of(folder) is not None:
                try:
                    query(folder, {"op": "reload"}, timeout_s=2.0)
                except FortctlError as error:
                    self.warn(error.code, f"the robot of {name} has not read the configuration: {error.message}")
                else:
                    reloaded.append(name)
        return reloaded

    @cached_property
    def account_entry(self) -> AccountEntry:
        """The account's configuration. Raises ``NotFoundError``."""
        from fortctl.services.accounts import find_account

        return find_account(self.account_registry.accounts(), self.account)

    def require_account(self) -> None:
        """Raise ``NotFoundError`` unless the account is configured: commands check it before they unlock or ask."""
        _ = self.account_entry

    @property
    def robot_log(self) -> LogReader:
        from fortctl.robot.process.log_reader import LogReader

        return LogReader(self.robot_home.log)

    @property
    def robot_home(self) -> RobotHome:
        return self.home.robot(self.account)

    @cached_property
    def account_registry(self) -> AccountRegistryFile:
        return AccountRegistryFile(self.home, self.config)

    @cached_property
    def account_service(self) -> AccountService:
        from fortctl.services.accounts import AccountService

        return AccountService(self.account_registry, self.audit)

    @cached_property
    def audit(self) -> AuditLogFile:
        from fortctl.store.audit_log import AuditLogFile

        return AuditLogFile(self.home.audit)

    # -- the site's vault ------------------------------------------------------------------------------------------

    @property
    def vault_file(self) -> VaultFile:
        from fortctl.vault.file import VaultFile

        return VaultFile(self.home.vault, self.home.erasure)

    @cached_property
    def open_vault(self) -> OpenVault:
        """The site's vault, unlocked. From here on audit entries have a seal."""
        from fortctl.services.site_vault import AUDIT_KEY
        from fortctl.system.memory import guard_memory

        guard_memory()
        file, reached = self.vault_file, self.vault_service.reached()
        kinds = [slot.kind for slot in file.header().slots]
        vault = file.unlock(self.unlock_sources.candidates("site", kinds, self.home.keyfile))
        self.audit.seal_with(vault.get(AUDIT_KEY))
        try:
            self.vault_service.check_generation(vault.generation, reached)
        except FortctlError as error:
            if not self.accept_any_generation:
                raise
            self.warn(error.code, error.message)
        return vault

    def reload_vault(self) -> None:
        """Read the site's vault again if it is open: what a command decides under a lock must not be of before it."""
        if "open_vault" in self.__dict__:
            self.open_vault.reload()

    @cached_property
    def unlock_sources(self) -> UnlockSources:
        from fortctl.bootstrap.unlock import UnlockSources

        return UnlockSources(self._prompts, self._given, self.warn)

    @cached_property
    def vault_service(self) -> VaultService:
        from fortctl.services.vault import VaultService

        return VaultService(self.audit, self.clock, self.account)

    @cached_property
    def robot_vault_file(self) -> VaultFile:
        from fortctl.vault.file import VaultFile

        return VaultFile(self.robot_home.vault, self.robot_home.erasure)

    @cached_property
    def site_vault(self) -> SiteVault:
        from fortctl.services.site_vault import SiteVault

        return SiteVault(self.account, self.account_entry.exchange, self.open_vault, self.audit, self.clock)

    # -- the robot -------------------------------------------------------------------------------------------------

    @cached_property
    def latch(self) -> Latch:
        # The latch of a robot on another host is there; the one here keeps this home from speaking to it.
        from fortctl.robot.storage.latch import LatchFile

        return LatchFile(self.robot_home.path)

    @cached_property
    def robot_process(self) -> RobotProcess:
        """The account's robot: on this machine, on another host, or none (the account is only watched)."""
        from fortctl.robot.process.local_robot import LocalRobot
        from fortctl.robot.process.remote_robot import NoRobot, RemoteRobot

        if self.account_entry.robot == "none":
            return NoRobot(self.account)
        if self.account_entry.robot == "remote":
            return RemoteRobot()
        return LocalRobot(self.home.path, self.account, self.robot_home.path)

    @cached_property
    def mailbox(self) -> SqliteMailbox | PostgresMailbox:
        from fortctl.mailbox.sqlite import SqliteMailbox, shared_path

        url = self.config.mailbox
        if not url:
            return SqliteMailbox(self.home.mailbox)
        if url.startswith("postgresql://"):
            from fortctl.mailbox.postgres import PostgresMailbox

            return PostgresMailbox(url)
        return SqliteMailbox(shared_path(url), shared=True)

    @cached_property
    def operations(self) -> SqliteOperations:
        """The journal of long operations; it is not kept open by anything but rotations, doctor and panic."""
        from fortctl.store.operations import SqliteOperations

        return SqliteOperations(self.home.operations)

    def set_mailbox(self, url: str) -> None:
        """Meet robots and operators at another mailbox from now on. Raises ``ConfigError``."""
        if url.startswith("postgresql://"):
            from fortctl.mailbox.postgres import check_url

            check_url(url)
        else:
            from fortctl.mailbox.sqlite import shared_path

            shared_path(url)
        self.config = replace(self.config, mailbox=url)
        save_config(self.home, self.config)

    @cached_property
    def pairing_service(self) -> PairingService:
        from fortctl.services.robot.pairing import PairingService

        return PairingService(self.site_vault, self.mailbox, self.robot_client, self.audit, self.clock, self.clock.wait)

    @property
    def panic_orders(self) -> PanicOrders:
        from fortctl.services.panic.presigned_order import PanicOrders

        return PanicOrders(self.account, PrivateFile(self.robot_home.panic_order), self.mailbox, self.config.mailbox)

    def ensure_panic_order(self) -> None:
        """Keep a pre-signed panic order ready for a robot on another host; the vault is open by now."""
        if self.account_entry.robot == "remote" and self.config.mailbox:
            from fortctl.services.panic.presigned_order import ensure_presigned_order

            ensure_presigned_order(self.panic_orders, self.site_vault, self.warn)

    @cached_property
    def robot_client(self) -> RobotClient:
        from fortctl.services.robot.client import RobotClient

        self.ensure_panic_order()
        return RobotClient(
            self.site_vault,
            self.mailbox,
            self.robot_process,
            self.latch,
            self.robot_home.path,
            self.clock,
            self.clock.wait,
            self.robot_passphrase,
            self.audit,
        )

    def robot_passphrase(self) -> Secret | None:
        """Return the passphrase for the robot's vault, or None where a key file or the keyring unlocks it.

        A vault that does not exist yet gets a new passphrase, which a person is asked for twice.
        """
        from fortctl.vault.slots import Keyring, Passphrase

        file, keyfile = self.robot_vault_file, self.robot_home.keyfile
        if not file.exists():
            if self.config.slot != "passphrase":
                return None
            return self.unlock_sources.new_robot_passphrase(keyfile)
        slots = file.header().slots
        kinds = [slot.kind for slot in slots]
        if "passphrase" not in kinds:
            return None
        for source in self.unlock_sources.candidates("robot", kinds, keyfile):
            if isinstance(source, Passphrase):
                return source.secret
            if not isinstance(source, Keyring) or any(_held(source, slot.hint) for slot in slots):
                return None
        return None

    @cached_property
    def status_reader(self) -> RobotStatusReader:
        from fortctl.services.robot.status import RobotStatusReader

        return RobotStatusReader(
            self.robot_process, self.latch, self._offline_status, self._published_key, self._report
        )

    def _report(self, by: str, price: str | None) -> dict[str, Any]:
        from fortctl.robot.storage.offline_status import offline_report

        if self.account_entry.robot == "remote":
            raise NotFoundError(
                "the journal of a robot on another host is on that host",
                hint="run 'fortctl robot report' on the robot's host",
            )
        return offline_report(self.robot_home.journal, by, price)

    def _offline_status(self) -> dict[str, Any]:
        from fortctl.robot.storage.offline_status import offline_status

        status = offline_status(self.robot_home.journal, self.clock.now_ms())
        if self.account_entry.robot == "remote":
            card = self._published()
            status.update(card.get("status") or {"state": "unknown", "reason": "not paired"})
            status["published_at"] = rfc3339(card.get("at"))
        return status

    def _published(self) -> dict[str, Any]:
        """Return what the robot published of itself; nothing where it is not signed by the robot that this home knows.

        A mailbox in the home is as good as the home itself; to one elsewhere others may write.
        """
        from fortctl.robot.process.remote_robot import read_card

        there = bool(self.config.mailbox) or self.home.mailbox.exists()
        found = self.mailbox.card(self.account) if there else None
        if found is None:
            return {}
        card = read_card(*found, self.robot_home.identity if self.config.mailbox else None)
        if card is None:
            self.warn("CARD_NOT_SIGNED", "the robot's status in the mailbox has no valid signature; it is not shown")
        return card or {}

    def pin_remote_robot(self, robot_id: str, public: bytes) -> None:
        """Keep the public identity of a robot on another host, which what it publishes is held against."""
        import base64

        self.robot_home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        body = {"robot_id": robot_id, "public": base64.b64encode(public).decode()}
        write_private(self.robot_home.identity, json.dumps(body, sort_keys=True).encode())

    def _published_key(self) -> Mapping[str, Any] | None:
        from fortctl.keys.serialization import key_card_from_json
        from fortctl.services.keys.listing import card_json

        key = self._published().get("key")
        return card_json(key_card_from_json(key), self.clock.now_ms()) if key else None

    def destroy_keys(self, role: Role | None = None) -> tuple[str, ...]:
        """Destroy the account's erasure keys, the site's and the robot's, or one role's; nothing is unlocked."""
        from fortctl.vault.erasure import destroy

        if role == "site":
            return destroy(self.home.erasure, self.account, ("site", "pending", "retiring"))
        if role == "robot":
            here = destroy(self.home.erasure, self.account, ("copy",))
            return (*here, *destroy(self.robot_home.erasure, self.account, ("key", "pending", "retiring")))
        return (*destroy(self.home.erasure, self.account), *destroy(self.robot_home.erasure, self.account))

    # -- services --------------------------------------------------------------------------------------------------

    @cached_property
    def key_service(self) -> KeyService:
        from fortctl.services.keys.service import KeyService

        return KeyService(self.site_vault, self.robot_client, self.connect, self.clock, self.audit)

    def list_keys(self) -> tuple[KeyCard, ...]:
        """Return a card for each key of the account. Raises ``VaultLockedError``, ``VaultDamagedError``."""
        from fortctl.services.keys.listing import list_keys
        from fortctl.services.robot.card import RobotCardReader

        self.ensure_panic_order()
        card = RobotCardReader(self.site_vault, self.mailbox, self.robot_home.path).read()
        return list_keys(self.site_vault, card.key if card is not None else None)

    @cached_property
    def hooks(self) -> Hooks:
        """The account's hooks and notifications. Raises ``ConfigError``."""
        return make_hooks(self.account, self.settings, self.clock)

    @cached_property
    def robot_service(self) -> RobotService:
        from fortctl.services.robot.service import RobotService

        return RobotService(self.robot_client, self.status_reader, self.clock, self.clock.wait)

    @cached_property
    def account_views(self) -> AccountViews:
        from fortctl.services.account_views import AccountViews

        return AccountViews(self.site_vault, self.connect)

    def connect(self, pair: KeyPair | None, connections: ConnectionPool | None = None) -> Exchange:
        """Make an exchange adapter for the account's target; a process of long life shares its connections."""
        from fortctl.exchange.client import BinanceExchange
        from fortctl.exchange.rate_limiter import RateLimiter

        target = self.target()
        limiter = RateLimiter(self._request_weights, target.rest_url, self.clock)
        return BinanceExchange(target, pair, connections=connections, account=self.account, limiter=limiter)

    def target(self) -> ExchangeTarget:
        """Return the account's target: the paper exchange may have come up at another address since."""
        from fortctl.exchange.targets import resolve

        return resolve(self.account_entry.exchange, self.home.path)

    @cached_property
    def _request_weights(self) -> RequestWeightStore:
        from fortctl.store.request_weight import RequestWeightStore

        return RequestWeightStore(self.home.path / "weights.sqlite")


def make_hooks(account: str, preferences: HomeSettings, clock: SystemClock) -> Hooks:
    """Return an account's hooks as its settings have them. Raises ``ConfigError``."""
    from fortctl.config.settings import HOOKS, HOOKS_TIMEOUT, NOTIFY_EVENTS, NOTIFY_URLS_FILE
    from fortctl.hooks.runner import SubprocessHookRunner, notification
    from fortctl.services.hooks import HookPlan, Hooks

    urls, events = preferences.get(NOTIFY_URLS_FILE), preferences.get(NOTIFY_EVENTS)
    limit_ms = preferences.get(HOOKS_TIMEOUT)
    commands: dict[str, tuple[str, ...]] = {}
    for event, setting in HOOKS.items():
        commands[event] = preferences.get(setting)
    plan = HookPlan(commands, notification(Path(urls)) if urls else (), events, limit_ms / 1000)
    return Hooks(account, host_name(), plan, SubprocessHookRunner(), clock)


def host_name() -> str:
    return os.uname().nodename


def _held(keyring: Keyring, name: str) -> bool:
    """Return whether the operating system's keyring holds a slot's key."""
    try:
        keyring.store.get(name)
    except FortctlError:
        return False
    return True
