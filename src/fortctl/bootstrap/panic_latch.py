"""Find the accounts of a panic and write their latches, before anything else of it is loaded.

A robot stops placing orders as soon as its latch is on the disk: what a command imports first is paid in orders. This
module and what it imports at its top is all that stands between the parsed command line and the latch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fortctl.bootstrap.deadline import read_in_time
from fortctl.config.home import ACCOUNT_NAME, Home
from fortctl.errors import NotFoundError
from fortctl.robot.storage.latch import LatchFile
from fortctl.services.panic.early_latch import EarlyLatch, latch_begun
from fortctl.system.clock import SystemClock
from fortctl.system.users import user_name

# A disk that hangs: each account's latch step tries again, and the robot is halted in any case.
WRITE_WITHIN_S = 1.0


def affected_accounts(home: Home, account: str, every: bool) -> list[str]:
    """Return the accounts that a panic is about.

    An account exists when anything in the home names it: its robot's folder, its erasure keys, the site's vault, the
    configuration. The configuration is read last, and only where it matters: one that hangs or is broken does not stop
    a panic.

    Args:
        every: all accounts of the home, not *account* alone.

    Raises:
        NotFoundError: there is no such account.
    """
    names = _folders(home.path / "robots") | _folders(home.erasure)
    if every or account not in names:
        names |= _in_vault(home)
    if every or account not in names:
        names |= _configured(home)
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


def write_latches(home: Home, accounts: Sequence[str], *, cancel_orders: bool) -> dict[str, EarlyLatch]:
    """Write the latches of the accounts durably, and return how that went; never raises."""
    clock = SystemClock()
    at_ms, began = clock.now_ms(), clock.monotonic()
    latches = {account: EarlyLatch(at_ms, began) for account in accounts}
    begun = latch_begun(at_ms, user_name(), cancel_orders)

    def write() -> None:
        for account in accounts:
            started = time.perf_counter()
            try:
                LatchFile(home.robot(account).path).update(lambda facts: {**begun, **facts})
            except OSError:
                continue
            elapsed_ms = (time.perf_counter() - started) * 1000
            latches[account] = replace(latches[account], elapsed_ms=elapsed_ms, written=True)

    read_in_time(write, WRITE_WITHIN_S)
    return dict(latches)


def _folders(root: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(root) if entry.is_dir() and ACCOUNT_NAME.fullmatch(entry.name)}
    except OSError:
        return set()


def _in_vault(home: Home) -> set[str]:
    """Return the accounts that the records of the site's vault name."""
    from fortctl.vault.file import VaultFile

    header = read_in_time(lambda: VaultFile(home.vault, home.erasure).header())
    return {meta.account for meta in header.records if meta.account} if header is not None else set()


def _configured(home: Home) -> set[str]:
    from fortctl.config.file import load_config

    config = read_in_time(lambda: load_config(home))
    return set(config.accounts) if config is not None else set()


def _runs(home: Home, account: str) -> bool:
    """Return whether a robot runs although nothing in the home names its account."""
    from fortctl.robot.process.local_robot import LocalRobot

    return LocalRobot(home.path, account, home.robot(account).path).owner() is not None
