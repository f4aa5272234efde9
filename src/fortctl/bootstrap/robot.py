"""Assembles the robot process: its vault, journal, mailbox, runner, desk and socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fortctl.config.home import write_private
from fortctl.errors import ConflictError, FortctlError, InternalError, NotFoundError
from fortctl.secret import Secret
from fortctl.system.files import NotARegularFileError, read_regular

if TYPE_CHECKING:
    from fortctl.bootstrap.container import Container
    from fortctl.bootstrap.panic_handler import HookDispatcher
    from fortctl.config.settings import HomeSettings
    from fortctl.robot.control.command_processor import CommandProcessor
    from fortctl.robot.control.robot_vault import RobotVault
    from fortctl.robot.core.reconciliation import ResumeLimits
    from fortctl.robot.process.log_file import LogShape, RobotLog
    from fortctl.robot.trading.runner import Runner
    from fortctl.vault.slots import Unlocker

# Nobody can wake a robot on another host: it looks by itself.
MAILBOX_POLL_S, SHARED_POLL_S = 5.0, 0.5
# A request may take 10 s, and a lookup follows it.
FINISH_WITHIN_S = 25.0
# Long beyond any step of the worker: a thousand lookups, each answered, move it a thousand times.
STUCK_AFTER_S = 300.0


def run_robot(wiring: Container, *, brought_up: bool) -> int:
    """Run the robot until it is told to end; return the exit code.

    Args:
        wiring: the adapters of this home and account.
        brought_up: started by a command: the passphrase comes over stdin, one line goes back over stdout, and a robot
            that was running waits for ``robot start``.
    """
    from fortctl.robot.process.event_loop import SingleThreadLoop
    from fortctl.robot.process.local_robot import announce

    robot: RobotProcess | None = None
    try:
        robot = RobotProcess(wiring, brought_up=brought_up)
        with asyncio.Runner(loop_factory=SingleThreadLoop) as loop:
            return loop.run(robot.serve())
    except Exception as error:
        if robot is not None:
            robot.broke(error)
        if not brought_up:
            raise
        fault = error.as_config_error() if isinstance(error, NotARegularFileError) else error
        if not isinstance(fault, FortctlError):
            fault = InternalError(f"{type(error).__name__} in the robot")
        # A line that nobody waits for any more is simply lost.
        announce({"ok": False, "error": fault.as_json()})
        return fault.exit_code


class RobotProcess:
    """One robot process, from its lock to its socket."""

    def __init__(self, wiring: Container, *, brought_up: bool) -> None:
        from fortctl.bootstrap.container import host_name
        from fortctl.robot.process.crash_reports import CrashReports
        from fortctl.robot.process.owner_lock import OwnerLock
        from fortctl.robot.process.sd_notify import ServiceManager
        from fortctl.robot.storage.journal import SqliteJournal
        from fortctl.system.memory import guard_memory

        self._wiring = wiring
        self._brought_up = brought_up
        self._place = wiring.robot_home
        guard_memory(lock=True)
        self._latch = wiring.latch
        self._refuse_latched()
        if not self._place.path.is_dir():
            raise NotFoundError(f"account {wiring.account} has no robot folder", hint="'fortctl accounts add' makes it")
        # A configuration that is not valid is told before anything is touched.
        wiring.settings.check()
        self._lock = OwnerLock(self._place.path)
        self._lock.acquire(host_name())
        # A panic that looked for an owner just before has found none.
        self._refuse_latched()
        self._logging = self._open_log()
        self._log = self._logging.logger
        self._incidents = CrashReports(self._place.path, wiring.account)
        left = self._incidents.watch(wiring.clock.now_ms())
        if left is not None:
            self._log.error("the last robot crashed: %s", left.name)
        self._manager = ServiceManager({} if brought_up else os.environ)
        self._runner: Runner | None = None
        self._box = self._open_box()
        self._journal = SqliteJournal(self._place.journal, account=wiring.account, clock=wiring.clock)

    def _refuse_latched(self) -> None:
        if self._latch.is_latched():
            raise ConflictError(
                f"the robot of account {self._wiring.account} is latched after a panic",
                hint="look at the account first, then 'fortctl panic-clear'",
                details={"state": "latched"},
            )

    # -- coming up -------------------------------------------------------------------------------------------------

    def _open_log(self) -> RobotLog:
        from fortctl.robot.process.log_file import RobotLog

        shape = _log_shape(self._wiring.settings)
        return RobotLog(self._place.log, self._wiring.account, shape, echo=not self._brought_up)

    def _open_box(self) -> RobotVault:
        from fortctl.robot.control.robot_vault import RobotVault
        from fortctl.vault.file import VaultFile

        wiring, place = self._wiring, self._place
        file = VaultFile(place.vault, place.erasure)
        exchange = wiring.account_entry.exchange
        if file.exists():
            kinds = [slot.kind for slot in file.header().slots]
            vault = file.unlock([self._unlocker(kinds)])
            return RobotVault(wiring.account, exchange, vault, wiring.clock)
        offer = json.loads(read_regular(place.pairing))
        if offer["account"] != wiring.account or offer["exchange"] != exchange:
            raise ConflictError(
                "the pairing offer in the robot's folder is another account's", hint="see 'accounts add'"
            )
        vault = file.create([self._new_slot()])
        operators = {str(offer["operator_id"]): bytes.fromhex(offer["operator_public"])}
        return RobotVault.provision(wiring.account, exchange, vault, wiring.clock, operators)

    def _unlocker(self, kinds: list[str]) -> Unlocker:
        from fortctl.vault.slots import Passphrase

        if self._brought_up and "passphrase" in kinds:
            handed = sys.stdin.buffer.read(64 * 1024)
            if handed:
                return Passphrase(Secret(handed))
        return self._wiring.unlock_sources.find("robot", kinds, self._place.keyfile)

    def _new_slot(self) -> Unlocker:
        from fortctl.vault.keyring import OsKeyring
        from fortctl.vault.slots import KeyFile, Keyring

        if self._wiring.config.slot == "keyfile":
            return KeyFile(self._place.keyfile)
        if self._wiring.config.slot == "keyring":
            return Keyring(OsKeyring())
        return self._unlocker(["passphrase"])

    def _introduce(self) -> None:
        """Leave the robot's public identity where the operator of this home pins it from."""
        identity = self._box.identity()
        body = {"robot_id": identity.id, "public": base64.b64encode(identity.public_bytes()).decode()}
        text = json.dumps(body, sort_keys=True).encode()
        if not self._place.identity.exists() or read_regular(self._place.identity) != text:
            write_private(self._place.identity, text)

    # -- running ---------------------------------------------------------------------------------------------------

    async def serve(self) -> int:
        """Serve until halted, or told to end by a signal."""
        from fortctl.bootstrap.container import make_hooks
        from fortctl.bootstrap.panic_handler import HookDispatcher, RobotPanic
        from fortctl.bootstrap.robot_metrics import RobotMetrics
        from fortctl.exchange.connection_pool import ConnectionPool
        from fortctl.robot.control.command_processor import CommandProcessor
        from fortctl.robot.core.settings import parse_settings
        from fortctl.robot.process.control_socket import ControlSocket
        from fortctl.robot.process.local_robot import announce
        from fortctl.robot.process.metrics import Meter, MeteredJournal
        from fortctl.robot.strategy.plugins import find_strategy
        from fortctl.robot.trading.runner import Runner

        wiring, box = self._wiring, self._box
        self._introduce()
        connections, meter = ConnectionPool(), Meter()
        self._woken, self._alarmed, self._end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        bell = HookDispatcher(lambda: make_hooks(wiring.account, wiring.settings, wiring.clock), self._log)
        runner = Runner(
            account=wiring.account,
            robot_id=box.identity().id,
            journal=MeteredJournal(self._journal, meter, wiring.clock.monotonic),
            clock=wiring.clock,
            latch=self._latch,
            connect=lambda pair: wiring.connect(pair, connections),
            log=self._log,
            limits=_limits(wiring.settings),
            strategies=find_strategy,
            resume_running=not self._brought_up,
            announce=self._tell(bell),
        )
        # Before the key is loaded: it may silence or hold the robot.
        self._panic = RobotPanic(wiring, box, runner, bell, self._log, self._end.set)
        settings = box.settings()
        if settings is not None:
            await runner.configure(parse_settings(settings))
        key = box.key()
        if key is not None:
            await runner.keys.load(key.pair, uid=key.uid, allow=key.allow)
        desk = CommandProcessor(box, wiring.mailbox, runner, parse_settings, wiring.clock, self._latch, self._log)
        try:
            desk.publish()
        except FortctlError as error:
            # A robot trades whether or not somebody can speak to it.
            self._log.error("the mailbox cannot be written: %s", error.message)
        self._runner, self._desk = runner, desk
        endpoint = ControlSocket(self._place.path, self._handlers(runner))
        await endpoint.open()
        self._metrics = RobotMetrics(wiring, box, runner, connections, meter, self._log)
        await self._metrics.apply()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        if self._brought_up:
            announce({"ok": True})
        self._log.info("robot up: account %s, pid %d", wiring.account, os.getpid())
        self._manager.ready(runner.state)
        try:
            await self._until_end(runner, desk)
        finally:
            await endpoint.close()
            await self._metrics.close()
            await runner.close()
            await connections.close()
            with contextlib.suppress(FortctlError):
                self._journal.settle()
            self._journal.close()
            self._incidents.close()
            self._log.info("robot down: account %s", wiring.account)
        # A service manager need not start a latched robot again.
        return ConflictError.exit_code if self._panic.halted else 0

    def _tell(self, bell: HookDispatcher) -> Callable[[str, Mapping[str, Any]], None]:
        def tell(event: str, facts: Mapping[str, Any]) -> None:
            bell.ring(event, facts)
            # Its card in the mailbox says at once what has become of its key.
            self._wake()

        return tell

    async def _until_end(self, runner: Runner, desk: CommandProcessor) -> None:
        trading = asyncio.create_task(runner.run(), name="runner")
        # Its first look comes before any command is applied.
        looking = asyncio.create_task(self._look_for_panics(), name="panic")
        reading = asyncio.create_task(self._read_mailbox(desk), name="mailbox")
        ending = asyncio.create_task(self._end.wait(), name="end")
        beating = asyncio.create_task(self._answer_watchdog(runner), name="watchdog")
        tasks = {trading, looking, reading, ending, beating}
        try:
            done, _pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {ending}:
                task.result()
            if not self._panic.halted:
                await self._finish(runner, reading)
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _finish(self, runner: Runner, reading: asyncio.Task[None]) -> None:
        """End with no order in doubt and no command half applied, as far as the exchange answers in time."""
        self._log.info("ending: what is under way is finished first")
        self._manager.stopping("finishing what is under way", FINISH_WITHIN_S + 10)
        self._wake()
        try:
            async with asyncio.timeout(FINISH_WITHIN_S):
                doubts = await runner.finish()
                await asyncio.wait({reading})
        except TimeoutError:
            self._log.warning("not everything was finished in %.0f s; the next start looks it up", FINISH_WITHIN_S)
            return
        if doubts:
            self._log.warning("%d orders are in doubt; the next start looks them up", len(doubts))

    async def _answer_watchdog(self, runner: Runner) -> None:
        """Answer the watchdog while the worker moves: a loop that only spins is not alive."""
        within = self._manager.watchdog_s
        silent = False
        while True:
            stuck = runner.robot.stuck_for()
            if stuck < STUCK_AFTER_S:
                self._manager.alive(runner.state)
            elif not silent:
                self._log.error("the worker has not moved for %.0f s; the watchdog gets no answer any more", stuck)
            silent = stuck >= STUCK_AFTER_S
            await asyncio.sleep(within / 3 if within else STUCK_AFTER_S / 3)

    def reload(self) -> None:
        """Read the configuration again (SIGHUP); one that is not valid changes nothing."""
        from fortctl.config.file import load_config

        self._manager.reloading()
        try:
            config = load_config(self._wiring.home)
            config.settings_for(self._wiring.account).check()
        except FortctlError as error:
            self._log.error("the configuration is refused, what was in force goes on: %s", error.message)
        else:
            self._wiring.config = config
            self._logging.reshape(_log_shape(self._wiring.settings))
            if self._runner is not None:
                self._runner.robot.limits = _limits(self._wiring.settings)
                self._panic.reconfigure(self._wiring)
            self._applying = asyncio.ensure_future(self._metrics.apply())
            self._log.info("configuration read again")
        self._manager.ready(self._runner.state if self._runner is not None else "starting")

    def broke(self, error: Exception) -> None:
        """Leave an incident file; a plain refusal before anything ran is none."""
        self._log.error("the robot ended: %s", type(error).__name__, exc_info=error)
        if self._runner is None and isinstance(error, FortctlError):
            return
        where = "start" if self._runner is None else "run"
        state = self._runner.status() if self._runner is not None else {}
        self._incidents.note(
            error, at_ms=self._wiring.clock.now_ms(), where=where, state=state, log=self._logging.last_lines()
        )

    def _wake(self) -> None:
        self._woken.set()
        self._alarmed.set()

    async def _look_for_panics(self) -> None:
        """Look for panic orders, at the latch and at the deadman, also while a command waits for the exchange."""
        while not self._end.is_set():
            self._alarmed.clear()
            with self._bearing_with_the_mailbox():
                if await self._panic.look():
                    return
            self._panic.check_deadman()
            await self._rest(self._alarmed)

    async def _read_mailbox(self, desk: CommandProcessor) -> None:
        while not self._end.is_set():
            self._woken.clear()
            with self._bearing_with_the_mailbox():
                if not self._panic.halted:
                    await desk.poll()
                    desk.publish_if_changed()
            await self._rest(self._woken)

    @contextlib.contextmanager
    def _bearing_with_the_mailbox(self) -> Iterator[None]:
        try:
            yield
        except (FortctlError, sqlite3.Error) as error:
            # A store that is locked or full for a while must not end a robot that trades.
            why = error.message if isinstance(error, FortctlError) else type(error).__name__
            self._log.error("the mailbox cannot be read: %s", why)

    async def _rest(self, woken: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHARED_POLL_S if self._wiring.config.mailbox else MAILBOX_POLL_S):
                await woken.wait()

    def _handlers(self, runner: Runner) -> dict[str, Any]:
        async def ping(request: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"pid": os.getpid()}

        async def status(request: Mapping[str, Any]) -> Mapping[str, Any]:
            return runner.status()

        async def cycles(request: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"cycles": runner.cycles()}

        async def wake(request: Mapping[str, Any]) -> Mapping[str, Any]:
            self._wake()
            return {}

        async def reload(request: Mapping[str, Any]) -> Mapping[str, Any]:
            self.reload()
            return {}

        return {
            "ping": ping,
            "status": status,
            "cycles": cycles,
            "wake": wake,
            "reload": reload,
            **self._panic.handlers(),
        }


def _limits(preferences: HomeSettings) -> ResumeLimits:
    from fortctl.config.settings import RESUME_MAX_DRIFT, RESUME_MAX_GAP
    from fortctl.robot.core.reconciliation import ResumeLimits

    return ResumeLimits(preferences.get(RESUME_MAX_GAP), preferences.get(RESUME_MAX_DRIFT))


def _log_shape(preferences: HomeSettings) -> LogShape:
    from fortctl.config.settings import LOG_FILES, LOG_LEVEL, LOG_MAX_SIZE
    from fortctl.robot.process.log_file import LogShape

    return LogShape(preferences.get(LOG_LEVEL), preferences.get(LOG_MAX_SIZE), preferences.get(LOG_FILES))
