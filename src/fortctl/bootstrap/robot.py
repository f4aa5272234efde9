"""Assemble the robot process: open its folder, then make what the daemon runs.

:func:`run_robot` opens the process's resources (lock, log, vault, journal) before the event loop runs, then composes
runner, panic handler, command processor and daemon inside the loop. An ``AsyncExitStack`` closes everything in reverse
order; the kernel releases the lock when the process is gone.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fortctl.errors import ConflictError, FortctlError, InternalError, NotFoundError
from fortctl.secret import Secret
from fortctl.system.files import NotARegularFileError, read_regular, write_private

if TYPE_CHECKING:
    from fortctl.bootstrap.container import Container
    from fortctl.config.settings import HomeSettings
    from fortctl.exchange.connection_pool import ConnectionPool
    from fortctl.robot.control.robot_vault import RobotVault
    from fortctl.robot.core.foreign_activity import ForeignSettings
    from fortctl.robot.process.crash_reports import CrashReports
    from fortctl.robot.process.daemon import DaemonEvents, DaemonSettings, RobotDaemon
    from fortctl.robot.process.hook_dispatcher import HookDispatcher
    from fortctl.robot.process.log_file import RobotLog
    from fortctl.robot.process.metrics import Meter
    from fortctl.robot.process.metrics_server import MetricsServer
    from fortctl.robot.process.owner_lock import OwnerLock
    from fortctl.robot.process.panic_handler import PanicHandler
    from fortctl.robot.storage.journal import SqliteJournal
    from fortctl.robot.trading.runner import Runner
    from fortctl.vault.slots import Unlocker

# How often the mailbox is read (s): a robot in this home is woken by commands, nobody can wake one on another host.
LOCAL_POLL_S, SHARED_POLL_S = 5.0, 0.5


@dataclass
class OpenRobot:
    """The opened resources of one robot process.

    Attributes:
        lock: makes this process the account's only robot; held until the process ends.
        runner: None until it is made; a crash report includes its state.
    """

    container: Container
    brought_up: bool
    lock: OwnerLock
    log: RobotLog
    crash_reports: CrashReports
    vault: RobotVault
    journal: SqliteJournal
    runner: Runner | None = None

    def report_crash(self, error: Exception) -> None:
        """Write a crash report, unless the robot only refused to start."""
        self.log.logger.error("the robot ended: %s", type(error).__name__, exc_info=error)
        if self.runner is None and isinstance(error, FortctlError):
            return
        self.crash_reports.note(
            error,
            at_ms=self.container.clock.now_ms(),
            where="start" if self.runner is None else "run",
            state=self.runner.status() if self.runner is not None else {},
            log=self.log.last_lines(),
        )


def run_robot(container: Container, *, brought_up: bool) -> int:
    """Run the robot until a signal or a panic ends it; return the exit code.

    Args:
        container: the adapters of this home and account.
        brought_up: a command started the process: the passphrase comes over stdin, one line goes back over stdout, and
            a robot that was running waits for ``robot start``.
    """
    from fortctl.robot.process.event_loop import SingleThreadLoop
    from fortctl.robot.process.local_robot import announce

    robot: OpenRobot | None = None
    try:
        robot = _open_robot(container, brought_up=brought_up)
        with asyncio.Runner(loop_factory=SingleThreadLoop) as loop:
            return loop.run(_serve(robot))
    except Exception as error:
        if robot is not None:
            robot.report_crash(error)
        if not brought_up:
            raise
        fault = error.as_config_error() if isinstance(error, NotARegularFileError) else error
        if not isinstance(fault, FortctlError):
            fault = InternalError(f"{type(error).__name__} in the robot")
        # Lost if the command that brought the robot up has ended.
        announce({"ok": False, "error": fault.as_json()})
        return fault.exit_code


# -- opening -----------------------------------------------------------------------------------------------------------


def _open_robot(container: Container, *, brought_up: bool) -> OpenRobot:
    """Open the robot's folder.

    Raises:
        ConflictError: the account is latched, or another process is its robot.
        NotFoundError: the account has no robot folder.
        ConfigError: the configuration is invalid.
        VaultLockedError, VaultDamagedError: the vault does not open.
    """
    from fortctl.bootstrap.container import host_name
    from fortctl.robot.process.crash_reports import CrashReports
    from fortctl.robot.process.log_file import RobotLog
    from fortctl.robot.process.owner_lock import OwnerLock
    from fortctl.robot.storage.journal import SqliteJournal
    from fortctl.system.memory import guard_memory

    home = container.robot_home
    guard_memory(lock=True)
    _refuse_latched(container)
    if not home.path.is_dir():
        raise NotFoundError(
            f"account {container.account} has no robot folder", hint="'fortctl accounts add' creates it"
        )
    settings = _read_settings(container)
    lock = OwnerLock(home.path)
    lock.acquire(host_name())
    # Again: a panic that latched before the lock was held has found no robot to halt.
    _refuse_latched(container)
    log = RobotLog(home.log, container.account, settings.log, echo=not brought_up)
    crash_reports = CrashReports(home.path, container.account)
    last_crash = crash_reports.watch(container.clock.now_ms())
    if last_crash is not None:
        log.logger.error("the last robot crashed: %s", last_crash.name)
    vault = _open_vault(container, brought_up)
    journal = SqliteJournal(home.journal, account=container.account, clock=container.clock)
    return OpenRobot(container, brought_up, lock, log, crash_reports, vault, journal)


def _refuse_latched(container: Container) -> None:
    if container.latch.is_latched():
        raise ConflictError(
            f"the robot of account {container.account} is latched after a panic",
            hint="check the account first, then 'fortctl panic-clear'",
            details={"state": "latched"},
        )


def _open_vault(container: Container, brought_up: bool) -> RobotVault:
    """Unlock the robot's vault, or create it at the first start, from the operator's pairing offer."""
    from fortctl.robot.control.robot_vault import RobotVault

    home, file = container.robot_home, container.robot_vault_file
    account, exchange, clock = container.account, container.account_entry.exchange, container.clock
    if file.exists():
        kinds = [slot.kind for slot in file.header().slots]
        return RobotVault(account, exchange, file.unlock(_unlockers(container, kinds, brought_up)), clock)
    offer = json.loads(read_regular(home.pairing))
    if offer["account"] != account or offer["exchange"] != exchange:
        raise ConflictError("the pairing offer in the robot's folder is another account's", hint="see 'accounts add'")
    vault = file.create([_new_slot(container, brought_up)])
    operators = {str(offer["operator_id"]): bytes.fromhex(offer["operator_public"])}
    return RobotVault.provision(account, exchange, vault, clock, operators)


def _unlockers(container: Container, kinds: list[str], brought_up: bool) -> Iterator[Unlocker]:
    from fortctl.vault.slots import Passphrase

    if brought_up and "passphrase" in kinds:
        passphrase = sys.stdin.buffer.read(64 * 1024)
        if passphrase:
            return iter([Passphrase(Secret(passphrase))])
    return container.unlock_sources.candidates("robot", kinds, container.robot_home.keyfile)


def _new_slot(container: Container, brought_up: bool) -> Unlocker:
    from fortctl.vault.passphrases import new_passphrase
    from fortctl.vault.slots import Passphrase

    slot = container.config.slot
    if brought_up and slot == "passphrase":
        passphrase = sys.stdin.buffer.read(64 * 1024)
        if passphrase:
            return Passphrase(new_passphrase(passphrase))
    return container.unlock_sources.first("robot", slot, container.robot_home.keyfile)


def _publish_identity(container: Container, vault: RobotVault) -> None:
    """Write the robot's public identity where the operator of this home pins it from."""
    identity, path = vault.identity(), container.robot_home.identity
    body = {"robot_id": identity.id, "public": base64.b64encode(identity.public_bytes()).decode()}
    text = json.dumps(body, sort_keys=True).encode()
    if not path.exists() or read_regular(path) != text:
        write_private(path, text)


# -- serving -----------------------------------------------------------------------------------------------------------


async def _serve(robot: OpenRobot) -> int:
    """Compose the daemon, run it to its end, close everything; return the exit code."""
    from fortctl.robot.process.local_robot import announce

    async with contextlib.AsyncExitStack() as resources:
        daemon = await _compose(robot, resources)
        daemon.install_signal_handlers()
        if robot.brought_up:
            announce({"ok": True})
        halted = await daemon.run()
    # A service manager does not restart a robot that ends with this code.
    return ConflictError.exit_code if halted else 0


async def _compose(robot: OpenRobot, resources: contextlib.AsyncExitStack) -> RobotDaemon:
    """Make everything that the daemon runs; *resources* closes it in reverse order."""
    from fortctl.bootstrap.container import make_hooks
    from fortctl.exchange.connection_pool import ConnectionPool
    from fortctl.robot.control.command_processor import CommandProcessor
    from fortctl.robot.core.settings import parse_settings
    from fortctl.robot.process.control_socket import ControlSocket
    from fortctl.robot.process.daemon import DaemonEvents, RobotDaemon
    from fortctl.robot.process.hook_dispatcher import HookDispatcher
    from fortctl.robot.process.metrics import Meter
    from fortctl.robot.process.sd_notify import ServiceManager

    container, vault, log = robot.container, robot.vault, robot.log.logger
    resources.callback(log.info, "robot down: account %s", container.account)
    resources.callback(robot.crash_reports.close)
    resources.callback(_close_journal, robot.journal)
    _publish_identity(container, vault)
    settings, events, meter = _read_settings(container), DaemonEvents(), Meter()
    connections = ConnectionPool()
    resources.push_async_callback(connections.close)
    hooks = HookDispatcher(lambda: make_hooks(container.account, container.settings, container.clock), log)

    def announce(event: str, payload: Mapping[str, Any]) -> None:
        hooks.fire(event, payload)
        # The card in the mailbox is published again at once: it says what became of the key.
        events.wake()

    runner = _make_runner(robot, connections, settings, announce, meter, events.request_panic)
    resources.push_async_callback(runner.close)
    # Before the key is loaded: the deadman, or a panic that was cleared, keeps the robot from trading.
    panic = _make_panic_handler(robot, runner, hooks, events, settings.deadman_s)
    await _load(vault, runner)
    commands = CommandProcessor(vault, container.mailbox, runner, parse_settings, container.clock, container.latch, log)
    robot.runner = runner
    metrics = _make_metrics(robot, runner, connections, meter)
    resources.push_async_callback(metrics.close)
    daemon = RobotDaemon(
        account=container.account,
        runner=runner,
        commands=commands,
        panic=panic,
        metrics=metrics,
        manager=ServiceManager({} if robot.brought_up else os.environ),
        log=robot.log,
        events=events,
        settings=settings,
        read_settings=lambda: _reload_settings(container),
        mailbox_errors=(sqlite3.Error,),
    )
    daemon.publish()
    socket = ControlSocket(container.robot_home.path, daemon.socket_handlers())
    await socket.open()
    resources.push_async_callback(socket.close)
    await metrics.listen(settings.metrics)
    return daemon


async def _load(vault: RobotVault, runner: Runner) -> None:
    """Load the settings and the key that the vault holds."""
    from fortctl.robot.core.settings import parse_settings

    settings, key = vault.settings(), vault.key()
    if settings is not None:
        await runner.configure(parse_settings(settings))
    if key is not None:
        await runner.keys.load(key.pair, uid=key.uid, allow=key.allow, card=key.card)


def _make_runner(
    robot: OpenRobot,
    connections: ConnectionPool,
    settings: DaemonSettings,
    announce: Callable[[str, Mapping[str, Any]], None],
    meter: Meter,
    panic: Callable[[str], None],
) -> Runner:
    from fortctl.robot.process.metrics import MeteredJournal
    from fortctl.robot.strategy.plugins import find_strategy
    from fortctl.robot.trading.runner import Runner

    container = robot.container
    return Runner(
        account=container.account,
        robot_id=robot.vault.identity().id,
        journal=MeteredJournal(robot.journal, meter, container.clock.monotonic),
        clock=container.clock,
        latch=container.latch,
        connect=lambda pair: container.connect(pair, connections),
        log=robot.log.logger,
        limits=settings.limits,
        strategies=find_strategy,
        resume_running=not robot.brought_up,
        announce=announce,
        drift_settings=settings.drift,
        foreign_settings=settings.foreign,
        panic=panic,
    )


def _make_panic_handler(
    robot: OpenRobot, runner: Runner, hooks: HookDispatcher, events: DaemonEvents, deadman_s: float | None
) -> PanicHandler:
    from fortctl.robot.process.panic_handler import PanicHandler
    from fortctl.vault.erasure import destroy

    container = robot.container
    return PanicHandler(
        robot_vault=robot.vault,
        mailbox=container.mailbox,
        robot=runner,
        hold=runner.robot.hold_for,
        latch=container.latch,
        destroy=partial(destroy, container.robot_home.erasure, container.account),
        hooks=hooks,
        clock=container.clock,
        log=robot.log.logger,
        end=events.end.set,
        requested=lambda: events.panic_reason,
        deadman_s=deadman_s,
    )


def _make_metrics(robot: OpenRobot, runner: Runner, connections: ConnectionPool, meter: Meter) -> MetricsServer:
    from fortctl.robot.process.metrics_page import MetricsPage
    from fortctl.robot.process.metrics_server import MetricsServer

    container, vault = robot.container, robot.vault

    def key_added_at() -> int | None:
        key = vault.key()
        return key.card.created_at if key is not None else None

    page = MetricsPage(
        account=container.account,
        folder=container.robot_home.path,
        facts=runner.facts,
        key_added_at=key_added_at,
        weight_used=lambda: connections.weight_used,
        meter=meter,
        clock=container.clock,
    )
    return MetricsServer(page.text, robot.log.logger)


def _close_journal(journal: SqliteJournal) -> None:
    with contextlib.suppress(FortctlError):
        journal.settle()
    journal.close()


# -- the configuration -------------------------------------------------------------------------------------------------


def _read_settings(container: Container) -> DaemonSettings:
    """Return what the configuration says about the robot. Raises ``ConfigError``."""
    from fortctl.config.settings import (
        KEYS_DRIFT_ACTION,
        KEYS_DRIFT_INTERVAL,
        LOG_FILES,
        LOG_LEVEL,
        LOG_MAX_SIZE,
        METRICS_LISTEN,
        RESUME_MAX_DRIFT,
        RESUME_MAX_GAP,
        ROBOT_DEADMAN,
    )
    from fortctl.robot.core.drift_settings import DriftSettings, WatchAction
    from fortctl.robot.core.reconciliation import ResumeLimits
    from fortctl.robot.process.daemon import DaemonSettings
    from fortctl.robot.process.log_file import LogShape

    settings, shared = container.settings, bool(container.config.mailbox)
    settings.check()
    # A robot of this home is reached through its latch, so that it needs no mailbox to be stopped.
    deadman_ms = settings.get(ROBOT_DEADMAN) if shared else None
    return DaemonSettings(
        limits=ResumeLimits(settings.get(RESUME_MAX_GAP), settings.get(RESUME_MAX_DRIFT)),
        drift=DriftSettings(settings.get(KEYS_DRIFT_INTERVAL) / 1000, WatchAction(settings.get(KEYS_DRIFT_ACTION))),
        foreign=_foreign_settings(settings),
        log=LogShape(settings.get(LOG_LEVEL), settings.get(LOG_MAX_SIZE), settings.get(LOG_FILES)),
        metrics=settings.get(METRICS_LISTEN),
        deadman_s=deadman_ms / 1000 if deadman_ms else None,
        poll_s=SHARED_POLL_S if shared else LOCAL_POLL_S,
    )


def _foreign_settings(settings: HomeSettings) -> ForeignSettings:
    from fortctl.config.settings import ACCOUNT_EXPECTED, ACCOUNT_FOREIGN_ACTION
    from fortctl.robot.core.foreign_activity import ForeignAction, ForeignSettings

    expected = [entry.split(":", 1) for entry in settings.get(ACCOUNT_EXPECTED)]
    return ForeignSettings(
        tuple(text for kind, text in expected if kind == "prefix"),
        tuple(text for kind, text in expected if kind == "symbol"),
        ForeignAction(settings.get(ACCOUNT_FOREIGN_ACTION)),
    )


def _reload_settings(container: Container) -> DaemonSettings:
    """Read the configuration again and put it in force. Raises ``ConfigError``: it is invalid, and not in force."""
    from fortctl.config.file import load_config

    config = load_config(container.home)
    config.settings_for(container.account).check()
    container.config = config
    return _read_settings(container)
