"""Wires the panic. Nothing here may fail as a whole: what cannot be had is left out, and the panic says so."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fortctl.bootstrap.deadline import open_board, read_in_time
from fortctl.bootstrap.emergency import EmergencyReader
from fortctl.bootstrap.panic_rotation import abort_operation, open_operation
from fortctl.config.file import load_config
from fortctl.config.home import ACCOUNT_NAME, Home
from fortctl.errors import ConfigError, NotFoundError
from fortctl.model import KeyPair
from fortctl.system.clock import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

    from fortctl.cli.context import CommandContext
    from fortctl.ports import Exchange
    from fortctl.services.hooks import Hooks
    from fortctl.services.panic.halt import RemoteHalt
    from fortctl.services.panic.ports import PanicPorts


def affected_accounts(app: CommandContext, every: bool) -> list[str]:
    """Return the accounts that a panic is about.

    An account counts as there when anything in the home tells of it: its robot's folder, its erasure keys, the site's
    vault, the configuration. That is read last, and only where it matters: one that hangs or is broken stops no panic.

    Raises:
        NotFoundError: there is no such account.
    """
    home = Home(app.globals.home)
    names = _folders(home.path / "robots") | _folders(home.erasure)
    account = app.globals.account
    if every or account not in names:
        names |= _vaulted(home)
    if every or account not in names:
        config = read_in_time(lambda: load_config(home))
        names |= set(config.accounts) if config is not None else set()
    if every and names:
        return sorted(names)
    if account not in names and not _runs(home, account):
        if not home.path.exists():
            raise NotFoundError(
                f"there is nothing to disconnect: no home at {home.path}, and no robot of account {account} runs here",
                hint="if it was deleted: delete on Binance's API management page every key that you gave to fortctl,"
                " and cancel the open orders whose names begin with 'fc'",
            )
        raise NotFoundError(f"there is no account {account}", hint="see 'fortctl accounts list'")
    return [account]


def _folders(root: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(root) if entry.is_dir() and ACCOUNT_NAME.fullmatch(entry.name)}
    except OSError:
        return set()


def _vaulted(home: Home) -> set[str]:
    """Return the accounts whose records the site's vault shows."""
    from fortctl.vault.file import VaultFile

    header = read_in_time(lambda: VaultFile(home.vault, home.erasure).header())
    return {meta.account for meta in header.records if meta.account} if header is not None else set()


def _runs(home: Home, account: str) -> bool:
    """Return whether a robot runs although nothing in the home tells of it."""
    from fortctl.robot.process.local_robot import LocalRobot

    return LocalRobot(home.path, account, home.robot(account).path).owner() is not None


def panic_ports(app: CommandContext, account: str) -> PanicPorts:
    """Return what can be done for one account."""
    from fortctl.robot.core.submission import PROVED_AFTER_MS
    from fortctl.robot.process.local_robot import LocalRobot
    from fortctl.robot.storage.latch import LatchFile
    from fortctl.services.panic.ports import PanicPorts

    home, clock = Home(app.globals.home), SystemClock()
    folder = home.robot(account).path
    emergency = EmergencyReader(app, home, account)

    def remote(cancel_orders: bool, timeout_s: float, begun_ms: int) -> RemoteHalt:
        from fortctl.services.panic.halt import RemoteHalt

        how: dict[str, Any] = {"cancel_orders": cancel_orders, "timeout_s": timeout_s, "begun_ms": begun_ms}
        return RemoteHalt(emergency, open_board, clock, **how)

    def load_exchange() -> None:
        from fortctl.exchange import client  # noqa: F401
        from fortctl.exchange.targets import resolve

        resolve(emergency.exchange(), home.path)

    def connect(pair: KeyPair) -> Exchange:
        from fortctl.exchange.client import BinanceExchange
        from fortctl.exchange.targets import resolve

        return BinanceExchange(resolve(emergency.exchange(), home.path), pair)

    def audit(what: str, facts: Mapping[str, Any]) -> None:
        from fortctl.store.audit_log import AuditLogFile

        AuditLogFile(home.audit).append(what, account=account, result="done", best_effort=True, **facts)

    def hooks() -> Hooks:
        from fortctl.bootstrap.container import make_hooks

        config = emergency.config()
        if config is None:
            raise ConfigError("the configuration cannot be read")
        return make_hooks(account, config.preferences(account), clock)

    return PanicPorts(
        account=account,
        latch=LatchFile(folder),
        process=LocalRobot(home.path, account, folder),
        in_flight_ms=PROVED_AFTER_MS,
        remote=lambda: remote if emergency.is_remote() else None,
        keys=emergency,
        own_prefix=emergency.own_prefix,
        destroy=emergency.destroy,
        empty_mailbox=lambda: emergency.empty_mailbox(clock.now_ms()),
        abort_operation=lambda: abort_operation(home, account, clock.now_ms()),
        open_operation=lambda: open_operation(home, account),
        load_exchange=load_exchange,
        connect=connect,
        issuer=emergency.issuer,
        audit=audit,
        fire=lambda event, facts, wait_s: hooks().fire(event, facts, wait_s=wait_s),
        hooks=lambda event: hooks().names(event),
        clock=clock,
        user=_user(),
    )


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
