"""The robot process at work: its tasks, its socket, its signals, its orderly end.

:class:`RobotDaemon` is given ready objects by :mod:`fortctl.bootstrap.robot`, which also owns their resources. Four
tasks run until one ends: the runner trades, the panic task looks for orders and at the latch, the mailbox task applies
commands, the watchdog task answers the service manager. A signal, a halt or the failure of a task ends all of them;
unless the robot was halted, what is under way is finished first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from fortctl.errors import FortctlError

if TYPE_CHECKING:
    from fortctl.config.settings import Address
    from fortctl.robot.core.drift_settings import DriftSettings
    from fortctl.robot.core.foreign_activity import ForeignSettings
    from fortctl.robot.core.reconciliation import ResumeLimits
    from fortctl.robot.process.control_socket import Handler
    from fortctl.robot.process.log_file import LogShape, RobotLog
    from fortctl.robot.process.metrics_server import MetricsServer
    from fortctl.robot.process.sd_notify import ServiceManager
    from fortctl.robot.trading.runner import Runner

# A request may take 10 s, and a lookup follows it.
FINISH_WITHIN_S = 25.0
# Long beyond any step of the worker: a thousand lookups, each answered, move it a thousand times.
STUCK_AFTER_S = 300.0


@dataclass(frozen=True)
class DaemonSettings:
    """What the configuration says about a running robot.

    Attributes:
        limits: how long a break the robot bridges alone.
        drift: how the robot watches its key.
        foreign: which activity on the account is somebody else's, and what the robot does about it.
        log: the log's level and size.
        metrics: where Prometheus is answered; None: nowhere.
        deadman_s: see :class:`~fortctl.robot.process.panic_handler.PanicHandler`.
        poll_s: seconds between two looks into the mailbox.
    """

    limits: ResumeLimits
    drift: DriftSettings
    foreign: ForeignSettings
    log: LogShape
    metrics: Address | None
    deadman_s: float | None
    poll_s: float


@dataclass
class DaemonEvents:
    """What wakes the daemon's tasks.

    Attributes:
        mailbox: a command may wait.
        panic: a panic order may wait, or the latch may be on.
        end: the process must end.
        panic_reason: why the robot itself asks for a panic; empty where it does not.
    """

    mailbox: asyncio.Event = field(default_factory=asyncio.Event)
    panic: asyncio.Event = field(default_factory=asyncio.Event)
    end: asyncio.Event = field(default_factory=asyncio.Event)
    panic_reason: str = ""

    def request_panic(self, why: str) -> None:
        """Have the panic task latch and halt the robot now."""
        self.panic_reason = why
        self.panic.set()

    def wake(self) -> None:
        """Have the mailbox read now."""
        self.mailbox.set()
        self.panic.set()


class CommandsPort(Protocol):
    """The mailbox's commands (:class:`fortctl.robot.control.command_processor.CommandProcessor`)."""

    async def poll(self) -> int: ...

    def publish(self) -> None: ...

    def publish_if_changed(self) -> None: ...


class PanicPort(Protocol):
    """The robot's side of a panic (:class:`fortctl.robot.process.panic_handler.PanicHandler`)."""

    @property
    def halted(self) -> bool: ...

    async def poll(self) -> bool: ...

    def check_deadman(self) -> None: ...

    def set_deadman(self, deadman_s: float | None) -> None: ...

    def handlers(self) -> Mapping[str, Handler]: ...


class RobotDaemon:
    """Runs one robot.

    Args:
        account: its name.
        runner: trades.
        commands: applies the mailbox's commands.
        panic: halts the robot.
        metrics: answers Prometheus.
        manager: the service manager, if one runs the robot.
        log: the robot's log.
        events: wakes the tasks; the runner and the panic handler share it.
        settings: the configuration in force.
        read_settings: reads the configuration again; raises ``FortctlError`` if it is invalid.
        mailbox_errors: what the mailbox raises beside ``FortctlError`` while it is locked or full.
    """

    def __init__(
        self,
        *,
        account: str,
        runner: Runner,
        commands: CommandsPort,
        panic: PanicPort,
        metrics: MetricsServer,
        manager: ServiceManager,
        log: RobotLog,
        events: DaemonEvents,
        settings: DaemonSettings,
        read_settings: Callable[[], DaemonSettings],
        mailbox_errors: tuple[type[Exception], ...] = (),
    ) -> None:
        self._account = account
        self._runner = runner
        self._commands = commands
        self._panic = panic
        self._metrics = metrics
        self._manager = manager
        self._log_file = log
        self._log: logging.Logger = log.logger
        self._events = events
        self._settings = settings
        self._read_settings = read_settings
        self._mailbox_errors: tuple[type[Exception], ...] = (FortctlError, *mailbox_errors)
        self._listening: asyncio.Future[None] | None = None

    # -- starting --------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Publish the robot's card; a mailbox that cannot be written keeps no robot from trading."""
        try:
            self._commands.publish()
        except FortctlError as error:
            self._log.error("the mailbox cannot be written: %s", error.message)

    def socket_handlers(self) -> dict[str, Handler]:
        """Return the operations of the control socket."""

        async def ping(request: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"pid": os.getpid()}

        async def status(request: Mapping[str, Any]) -> Mapping[str, Any]:
            return self._runner.status()

        async def cycles(request: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"cycles": self._runner.cycles()}

        async def wake(request: Mapping[str, Any]) -> Mapping[str, Any]:
            self._events.wake()
            return {}

        async def reload(request: Mapping[str, Any]) -> Mapping[str, Any]:
            self.reload()
            return {}

        handlers: dict[str, Handler] = {
            "ping": ping,
            "status": status,
            "cycles": cycles,
            "wake": wake,
            "reload": reload,
        }
        return handlers | dict(self._panic.handlers())

    def install_signal_handlers(self) -> None:
        """End on SIGTERM and SIGINT, read the configuration again on SIGHUP; until the process ends."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._events.end.set)
        loop.add_signal_handler(signal.SIGINT, self._events.end.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)

    def reload(self) -> None:
        """Read the configuration again; an invalid one changes nothing."""
        self._manager.reloading()
        try:
            settings = self._read_settings()
        except FortctlError as error:
            self._log.error("the configuration is invalid and was not applied: %s", error.message)
        else:
            self._settings = settings
            self._log_file.reshape(settings.log)
            self._runner.robot.limits = settings.limits
            self._runner.robot.drift_settings = settings.drift
            self._runner.robot.foreign_settings = settings.foreign
            self._panic.set_deadman(settings.deadman_s)
            self._listening = asyncio.ensure_future(self._metrics.listen(settings.metrics))
            self._log.info("configuration read again")
        self._manager.ready(self._runner.state)

    # -- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Run until the robot is halted, a signal ends it, or a task fails (its exception is raised).

        Returns:
            Whether the robot was halted: its service manager must not start it again.
        """
        self._log.info("robot up: account %s, pid %d", self._account, os.getpid())
        self._manager.ready(self._runner.state)
        async with self._tasks() as (tasks, mailbox, ended):
            done, _pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {ended}:
                task.result()
            if not self._panic.halted:
                await self._finish(mailbox)
        return self._panic.halted

    @contextlib.asynccontextmanager
    async def _tasks(self) -> AsyncIterator[tuple[set[asyncio.Task[Any]], asyncio.Task[None], asyncio.Task[Any]]]:
        """Run the tasks; yield all of them, the mailbox's, and the one that waits for the end. Cancel them at exit."""
        trading = asyncio.create_task(self._runner.run(), name="runner")
        # Begun before the mailbox's: a panic order is obeyed before any command is applied.
        panic = asyncio.create_task(self._watch_for_panic(), name="panic")
        mailbox = asyncio.create_task(self._apply_commands(), name="mailbox")
        ended = asyncio.create_task(self._events.end.wait(), name="end")
        watchdog = asyncio.create_task(self._answer_watchdog(), name="watchdog")
        tasks: set[asyncio.Task[Any]] = {trading, panic, mailbox, ended, watchdog}
        try:
            yield tasks, mailbox, ended
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _finish(self, mailbox: asyncio.Task[None]) -> None:
        """Finish orders and commands that are under way, as far as the exchange answers in time."""
        self._log.info("ending: finishing what is under way")
        self._manager.stopping("finishing what is under way", FINISH_WITHIN_S + 10)
        self._events.wake()
        try:
            async with asyncio.timeout(FINISH_WITHIN_S):
                unknown = await self._runner.finish()
                await asyncio.wait({mailbox})
        except TimeoutError:
            self._log.warning("not everything was finished in %.0f s; the next start looks it up", FINISH_WITHIN_S)
            return
        if unknown:
            self._log.warning("the state of %d orders is unknown; the next start looks them up", len(unknown))

    async def _watch_for_panic(self) -> None:
        """Look for panic orders, the latch and the deadman, also while a command waits for the exchange."""
        while not self._events.end.is_set():
            self._events.panic.clear()
            with self._log_mailbox_errors():
                if await self._panic.poll():
                    return
            self._panic.check_deadman()
            await self._wait(self._events.panic)

    async def _apply_commands(self) -> None:
        while not self._events.end.is_set():
            self._events.mailbox.clear()
            with self._log_mailbox_errors():
                if not self._panic.halted:
                    await self._commands.poll()
                    self._commands.publish_if_changed()
            await self._wait(self._events.mailbox)

    async def _answer_watchdog(self) -> None:
        """Answer the watchdog while the worker moves: an event loop that only spins is not alive."""
        within = self._manager.watchdog_s
        silent = False
        while True:
            stuck = self._runner.robot.stuck_for()
            if stuck < STUCK_AFTER_S:
                self._manager.alive(self._runner.state)
            elif not silent:
                self._log.error("the worker has not moved for %.0f s; the watchdog gets no answer any more", stuck)
            silent = stuck >= STUCK_AFTER_S
            await asyncio.sleep(within / 3 if within else STUCK_AFTER_S / 3)

    @contextlib.contextmanager
    def _log_mailbox_errors(self) -> Iterator[None]:
        try:
            yield
        except self._mailbox_errors as error:
            # A store that is locked or full for a while must not end a robot that trades.
            reason = error.message if isinstance(error, FortctlError) else type(error).__name__
            self._log.error("the mailbox cannot be read: %s", reason)

    async def _wait(self, woken: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.poll_s):
                await woken.wait()
