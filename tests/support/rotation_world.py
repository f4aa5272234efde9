"""One account, its site, its robot and its exchange in one process, for rotations that are killed and gone on with.

The vaults, the mailbox, the journals and the operation store are the real ones, on disk; the exchange is the paper
exchange's real engine. The robot lives on an event loop in a thread of its own and moves only while the site waits
for it, so that every run is the same. A kill is an exception: of the site's command, or of the robot.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

from fortctl.config.home import Home, make_private_folder
from fortctl.exchange import parsing
from fortctl.mailbox.crypto import Identity
from fortctl.mailbox.payloads import DrainCycles
from fortctl.mailbox.sqlite import SqliteMailbox
from fortctl.model import KeyPair, KeyType, MarketEvent, PublicTrade, Role, StreamUp, UserEvent
from fortctl.paper.engine import errors
from fortctl.paper.engine.accounts import LOOPBACK, ApiKey
from fortctl.paper.engine.exchange import Engine
from fortctl.paper.engine.market_data import Recording
from fortctl.paper.engine.symbols import symbol_of
from fortctl.paper.engine.trades.table import Trade
from fortctl.ports import OperationOwner
from fortctl.robot.control import command_processor
from fortctl.robot.control.command_processor import CommandProcessor
from fortctl.robot.control.robot_vault import RobotVault
from fortctl.robot.core.settings import GridSettings, parse_settings
from fortctl.robot.storage.journal import SqliteJournal
from fortctl.robot.storage.offline_status import offline_status
from fortctl.robot.trading.runner import Runner
from fortctl.secret import Secret
from fortctl.services.accounts import AccountEntry, pairing_offer
from fortctl.services.keys.issuer import PERSON, SUB_ACCOUNT
from fortctl.services.keys.service import KeyService
from fortctl.services.robot.client import RobotClient
from fortctl.services.robot.service import RobotService
from fortctl.services.robot.status import RobotStatusReader
from fortctl.services.rotation.context import RotationDeps
from fortctl.services.rotation.deletion_proof import DeletionProof
from fortctl.services.rotation.facts import OperatorAction
from fortctl.services.rotation.journal import RotationJournal
from fortctl.services.rotation.plan import Operation, RotationMode, Scope
from fortctl.services.rotation.service import RotationResult, RotationService
from fortctl.services.site_vault import SiteVault, create_site_vault
from fortctl.store.audit_log import AuditLogFile
from fortctl.store.operations import SqliteOperations
from fortctl.system.files import write_private
from fortctl.vault.file import VaultFile
from fortctl.vault.slots import KeyFile
from support.clock import START_MS, FakeClock
from support.engine_exchange import EngineExchange, EngineIssuer, admitted, answer, fault

SYMBOL = "XRPETH"
GRID = {"symbol": SYMBOL, "levels": 2, "step": "0.5", "take_profit": "0.5", "order_quote": "0.05"}
RIGHTS = {Role.SITE: ("reading",), Role.ROBOT: ("reading", "spot_trading")}


class Killed(BaseException):
    """SIGKILL, as far as one process can play it."""


class NoLatch:
    """A latch that stays off, unless a test sets it."""

    latched = False

    def is_latched(self) -> bool:
        return self.latched

    def placing(self) -> AbstractContextManager[bool]:
        return nullcontext(True)


class Robot:
    """The robot's process: up, moved on while somebody waits, killed. Implements ``ports.RobotProcess``."""

    pid, host = 1, "here"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._thread = ThreadPoolExecutor(1)
        self.runner: Runner | None = None
        # A service manager's robot goes on by itself; one that a command brings up waits for 'robot start'.
        self.resumes = True

    def owner(self) -> Any:
        return self if self.runner is not None else None

    def query(self, request: Mapping[str, Any], *, timeout_s: float = 5.0) -> dict[str, Any]:
        assert self.runner is not None
        return self.runner.status()

    def wake(self) -> bool:
        self.move()
        return True

    def ensure_running(self, passphrase: Secret | None = None, *, timeout_s: float = 20.0) -> None:
        if self.runner is None:
            self._thread.submit(self._come_up).result()

    def _come_up(self) -> None:
        self._thread_id = threading.get_ident()
        stage, place = self._stage, self._stage.home.robot("default")
        file = VaultFile(place.vault, place.erasure)
        if file.exists():
            box = RobotVault("default", "paper", file.unlock([KeyFile(place.keyfile)]), stage.clock)
        else:
            vault, operator = file.create([KeyFile(place.keyfile)]), stage.operator
            operators = {operator.id: operator.public_bytes()}
            box = RobotVault.provision("default", "paper", vault, stage.clock, operators)
            stage.introduce(box.identity())
        self._loop = asyncio.new_event_loop()
        self._journal = hasty(SqliteJournal(place.journal, account="default", clock=stage.clock))
        self._loop.run_until_complete(self._start(box))

    async def _start(self, box: RobotVault) -> None:
        stage = self._stage
        log = logging.getLogger("test.rotation")
        log.addHandler(logging.NullHandler())
        log.propagate = False
        runner = Runner(
            account="default",
            robot_id=box.identity().id,
            journal=self._journal,
            clock=stage.clock,
            latch=NoLatch(),
            connect=stage.connect,
            log=log,
            resume_running=self.resumes,
        )
        settings, key = box.settings(), box.key()
        if settings is not None:
            await runner.configure(parse_settings(settings))
        if key is not None:
            await runner.keys.load(key.pair, uid=key.uid, allow=key.allow)
        self._mailbox = hasty(SqliteMailbox(stage.home.mailbox))
        self._desk = CommandProcessor(box, self._mailbox, runner, _settings, stage.clock, NoLatch(), log)
        self._desk.publish()
        self._task = asyncio.create_task(runner.run())
        self.box, self.runner = box, runner
        await self._spin()

    async def _spin(self) -> None:
        await self._desk.poll()
        for _turn in range(40):
            await asyncio.sleep(0)
        self._desk.publish_if_changed()
        if self._task.done():
            self._task.result()

    def move(self) -> None:
        """Let it do what it can now; where the robot itself waits, only time passes."""
        if self.runner is not None and threading.get_ident() != self._thread_id:
            self._thread.submit(lambda: self._loop.run_until_complete(self._spin())).result()

    def kill(self, owner: Any = None) -> bool:
        """End it where it stands; nothing is tidied up."""
        if self.runner is not None:
            self.runner = None
            self._thread.submit(self._die).result()
        return True

    def _die(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._journal.close()
        self._mailbox._connection.close()
        self._loop.close()

    def end(self) -> None:
        self.kill()
        self._thread.shutdown()


def _settings(values: Mapping[str, Any]) -> GridSettings:
    return parse_settings(values)


class Person:
    """Somebody who does on Binance's page what the rotation asks for. Implements ``rotation.context.Guide``."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._made: dict[Role, KeyPair] = {}

    def progress(self, line: str) -> None:
        return

    def keys(self, todo: Sequence[OperatorAction], roles: Collection[Role]) -> dict[Role, KeyPair]:
        for role in roles:
            if role not in self._made:
                self._made[role] = self._stage.make_key(f"{role}-new", role)
        return {role: self._made[role] for role in roles}

    def refused(self, error: Exception) -> bool:
        return False

    def on_timeout(self, cycles_open: int) -> str:
        return "abort"

    def deleted(self, todo: Sequence[OperatorAction]) -> bool:
        for name in [action.key.name for action in todo if action.key is not None]:
            if any(key.name == name for key in self._stage.engine.state.keys.values()):
                self._stage.engine.delete_key(name)
        return True


class NoTraces:
    """The site's keys are in the same memory as the robot's here: nobody cleans it."""

    def __init__(self, *secrets: Any) -> None:
        return

    async def clean(self) -> tuple[int, int]:
        return 0, 0


def hasty(store: Any) -> Any:
    """Have a store not wait for the disk: SIGKILL takes nothing from the kernel's cache."""
    store._connection.execute("PRAGMA synchronous=OFF")
    return store


class NotedHooks:
    """Hooks that note what they are told, as (event, state, reason)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str | None]] = []

    def fire(self, event: str, facts: Mapping[str, Any], *, wait_s: float | None = None) -> tuple[Any, ...]:
        operation = facts["operation"]
        self.told.append((event, operation["state"], operation["reason"]))
        return ()


class Stage:
    """The account with both keys taken in, its robot trading; the ``engine_exchange.Network`` of both.

    Attributes:
        before: called with each request, by whom, before the exchange answers; may raise what the adapter would.
        fuse: called before and after each write of the rotation's journal; may raise :class:`Killed`.
        has_sapi: the exchange tells a key's rights (the testnet does not).
        stream_takes_ms: how long a user stream takes to be up.
    """

    def __init__(self, folder: Path, issuer: str = PERSON) -> None:
        self.home, self.issuer = Home(folder), issuer
        self.has_sapi, self.stream_takes_ms = True, 0
        self._traces, command_processor.SecretScrubber = command_processor.SecretScrubber, NoTraces  # type: ignore[attr-defined,misc,assignment]
        self._fsync, os.fsync = os.fsync, lambda descriptor: None
        make_private_folder(folder / "robots" / "default")
        self.clock = FakeClock()
        self.placed: list[str] = []
        self._trades = 1
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[str, KeyPair | None], None] = lambda call, pair: None
        self.listeners: list[asyncio.Queue[UserEvent]] = []
        self._exchange()
        vault = VaultFile(self.home.vault, self.home.erasure).create([KeyFile(self.home.keyfile)])
        create_site_vault(vault, "paper", self.clock, AuditLogFile(self.home.audit), "default")
        self.operator = Identity.from_private(vault.get("identity/operator"))
        write_private(
            self.home.robot("default").pairing, pairing_offer(AccountEntry("default", "paper"), self.operator)
        )
        self.robot = Robot(self)
        self.clock.waiting = self.robot.move
        self.person, self.hooks, self.latch = Person(self), NotedHooks(), NoLatch()
        self.fuse: Callable[[str, str, str], None] = lambda step, state, when: None
        self._pid = 100
        asyncio.run(self._take_keys_in())

    def _exchange(self) -> None:
        symbol = symbol_of(SYMBOL, Decimal("0.00000001"), Decimal(1))
        first = Trade(1, Decimal("0.00140000"), Decimal(1000), START_MS, True)
        self.engine = Engine({SYMBOL: Recording(symbol, (first,))}, "through")
        self.engine.create_account("master", {}, START_MS)
        sub = {"ETH": Decimal(30), "XRP": Decimal(1000)}
        self.email = self.engine.create_account("default", sub, START_MS, master="master").email
        self.engine.apply_trade(SYMBOL, first, START_MS)
        self.engine.listeners.on_user_event = self._emit
        self.master = self.make_key("master", Role.ROBOT, account="master")

    def _emit(self, account: str, kind: str, event: dict[str, Any]) -> None:
        if kind == "order":
            for queue in self.listeners:
                queue.put_nowait(parsing.order_update(event))

    def trade(self, price: str) -> None:
        """Let somebody trade at a price, and the robot hear of its fills."""
        self._trades += 1
        trade = Trade(self._trades, Decimal(price), Decimal(100_000), self.clock.ms, False)
        self.engine.apply_trade(SYMBOL, trade, self.clock.ms)
        self.clock.wait(1)

    def make_key(self, name: str, role: Role, account: str = "default", ips: tuple[str, ...] | None = None) -> KeyPair:
        text, secret = secrets.token_hex(32), secrets.token_hex(32)
        if ips is None:
            ips = LOOPBACK if role is Role.ROBOT else ()
        self.engine.add_key(ApiKey(name, account, text, "hmac", RIGHTS[role], START_MS, secret=secret, ips=ips))
        return KeyPair(name, KeyType.HMAC, Secret(text), Secret(secret))

    def introduce(self, identity: Identity) -> None:
        body = {"robot_id": identity.id, "public": base64.b64encode(identity.public_bytes()).decode()}
        write_private(self.home.robot("default").identity, json.dumps(body).encode())

    def connect(self, pair: KeyPair | None) -> EngineExchange:
        return EngineExchange(self, pair)

    # -- the network -----------------------------------------------------------------------------------------------

    def client_clock(self) -> FakeClock:
        return self.clock

    async def send(self, pair: KeyPair | None, method: str, path: str, values: dict[str, Any]) -> Any:
        self.calls.append((f"{method} {path}", pair.name if pair else ""))
        self.before(f"{method} {path}", pair)
        try:
            key = admitted(self.engine, pair, method, path, values, self.clock.ms)
            answered = answer(self.engine, key, method, path, values, self.clock.ms)
        except errors.BinanceError as refusal:
            raise fault(refusal) from None
        if (method, path) == ("POST", "/api/v3/order"):
            self.placed.append(values["newClientOrderId"])
        return answered

    async def user_events(self, exchange: EngineExchange, pair: KeyPair) -> AsyncIterator[UserEvent]:
        queue: asyncio.Queue[UserEvent] = asyncio.Queue()
        self.listeners.append(queue)
        up_at = self.clock.ms + self.stream_takes_ms
        try:
            while self.clock.ms < up_at:
                await asyncio.sleep(0)
            self.calls.append(("stream up", pair.name))
            yield StreamUp()
            while True:
                yield await queue.get()
        finally:
            self.listeners.remove(queue)

    async def market_events(self, symbol: str) -> AsyncIterator[MarketEvent]:
        yield StreamUp()
        yield PublicTrade(symbol, Decimal("0.0014"), Decimal(1), self.clock.ms)
        await asyncio.Event().wait()

    async def _take_keys_in(self) -> None:
        tools = self.tools()
        await tools.keys.add_site_key(self.make_key("site-old", Role.SITE), allow=(), replacing=False, force=False)
        await tools.keys.add_robot_key(self.make_key("robot-old", Role.ROBOT), allow=(), replacing=False, force=False)
        tools.robot.configure(GRID)
        tools.robot.start()
        self.clock.wait(1)

    # -- the site's command ----------------------------------------------------------------------------------------

    def tools(self) -> RotationDeps:
        audit = AuditLogFile(self.home.audit)
        vault = VaultFile(self.home.vault, self.home.erasure).unlock([KeyFile(self.home.keyfile)])
        custody = SiteVault("default", "paper", vault, audit, self.clock)
        mailbox = hasty(SqliteMailbox(self.home.mailbox))
        folder = self.home.robot("default").path
        control = RobotClient(
            *(custody, mailbox, self.robot, self.latch, folder, self.clock, self.clock.wait, lambda: None, audit)
        )
        watch = RobotStatusReader(self.robot, self.latch, self._offline, lambda: None, lambda by, price: None)  # type: ignore[arg-type]
        return RotationDeps(
            vault=custody,
            keys=KeyService(custody, control, self.connect, self.clock, audit),
            client=control,
            robot=RobotService(control, watch, self.clock, self.clock.wait),
            status_reader=watch,
            issuer=self.connect_issuer,
            proofs=DeletionProof(custody, control, self.connect, self.clock),
            guide=self.person,
            clock=self.clock,
            sleep=self.clock.wait,
            timeout_s=60.0,
        )

    def connect_issuer(self) -> EngineIssuer:
        return EngineIssuer(self, self.master, self.email)

    def robot_stops(self) -> None:
        self.tools().robot.stop_now(cancel_orders=False)

    def robot_drains(self) -> None:
        self.tools().client.execute(DrainCycles())

    def _offline(self) -> dict[str, Any]:
        return offline_status(self.home.robot("default").journal, self.clock.now_ms())

    def rotate(
        self,
        mode: RotationMode,
        scope: Scope,
        given: Mapping[Role, KeyPair] | None = None,
        *,
        addresses: Sequence[str] | None = None,
        allow: Sequence[str] = (),
    ) -> RotationResult:
        """Run ``keys rotate`` as one process; a rotation that is open is gone on with."""
        with self._at_work() as (journal, service):
            operation = journal.require(mode, scope) or journal.begin(mode, scope, self.issuer, addresses, allow)
            return asyncio.run(service.run(operation, given or {}))

    def abort(self) -> RotationResult:
        """Run ``keys rotate --abort`` as one process."""
        with self._at_work() as (journal, service):
            found = journal.current()
            assert found is not None
            return asyncio.run(service.abort(found))

    @contextmanager
    def _at_work(self) -> Iterator[tuple[RotationJournal, RotationService]]:
        self._pid += 1
        me = OperationOwner(self._pid, "here", str(self._pid), "keys rotate", self.clock.ms, self.clock.ms)
        store = hasty(SqliteOperations(self.home.operations))
        journal = _Watched(self, store, me)
        try:
            journal.acquire()
            yield journal, RotationService(journal, self.tools(), self.hooks, AuditLogFile(self.home.audit), self.clock)
        finally:
            store.close()

    def open_operation(self) -> Operation | None:
        me = OperationOwner(1, "here", "1", "look", 0, 0)
        store = hasty(SqliteOperations(self.home.operations))
        try:
            return RotationJournal("default", store, me, lambda owner: False, self.clock).current()
        finally:
            store.close()

    # -- what must be true -----------------------------------------------------------------------------------------

    def usable(self) -> dict[Role, bool]:
        """Whether the key that each role uses now is one that the exchange accepts."""
        custody = self.tools().vault
        site = custody.site_key()
        robot = self.robot.box.key()
        found = {}
        for role, pair in ((Role.SITE, site.pair if site else None), (Role.ROBOT, robot.pair if robot else None)):
            key = self.engine.state.keys.get(pair.api_key.reveal()) if pair is not None else None
            found[role] = key is not None and all(key.may(right, self.clock.ms) for right in RIGHTS[role])
        return found

    def end_state(self) -> dict[str, Any]:
        """What an undisturbed run and one that was killed must have in common."""
        tools = self.tools()
        self.robot.ensure_running()
        self.clock.wait(1)
        site, robot = tools.vault.site_key(), self.robot.box.key()
        assert site is not None and robot is not None and self.robot.runner is not None
        here = {site.pair.api_key.reveal(), robot.pair.api_key.reveal()}
        there = {key.api_key for key in self.engine.state.keys.values() if key.account == "default"}
        book = self.robot.runner.book
        open_there = {order.client_order_id for order in self.engine.state.open_orders("default")}
        return {
            "every key at the exchange is one of the two in use": there == here,
            "old keys in use": sorted(name for name in (site.pair.name, robot.pair.name) if name.endswith("old")),
            "retiring copies": [tools.vault.retiring() is not None, self.robot.box.retiring() is not None],
            "state": self.robot.runner.state,
            "open rotation": self.open_operation() is not None,
            "orders of the book are the exchange's": set(book.open_orders) == open_there,
            "placed twice": len(self.placed) - len(set(self.placed)),
            "usable": sorted(role.value for role, good in self.usable().items() if good),
        }

    def end(self) -> None:
        self.robot.end()
        command_processor.SecretScrubber = self._traces  # type: ignore[attr-defined,misc]
        os.fsync = self._fsync


class _Watched(RotationJournal):
    """The real journal; the stage hears of each write, before and after it."""

    def __init__(self, stage: Stage, store: SqliteOperations, me: OperationOwner) -> None:
        super().__init__("default", store, me, lambda owner: False, stage.clock)
        self._stage = stage

    def put(self, operation: Operation) -> Operation:
        doing = next((step.name for step in operation.steps if step.state == "doing"), None)
        done_yet = [step.name for step in operation.steps if step.state == "done"]
        name, state = (doing, "doing") if doing else (done_yet[-1] if done_yet else "begin", "done")
        self._stage.fuse(name, state, "before")
        done = super().put(operation)
        self._stage.fuse(name, state, "after")
        return done


__all__ = ["SUB_ACCOUNT", "Killed", "Stage"]
