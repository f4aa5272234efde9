"""One account's panic in this process: a real latch, and everything else played, on a clock that is turned by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from fortctl.errors import RobotUnreachableError
from fortctl.model import KeyPair, KeyType, OrderState, OrderStatus, Side
from fortctl.ports import ExchangeError, IssuedKey, Outcome
from fortctl.robot.core.submission import PROVED_AFTER_MS
from fortctl.robot.storage.latch import LatchFile
from fortctl.secret import Secret
from fortctl.services.panic.actions import ActionKind
from fortctl.services.panic.known_key import KeysRead, KnownKey
from fortctl.services.panic.panic import Panic
from fortctl.services.panic.plan import PLAN, PanicStepKind
from fortctl.services.panic.ports import JournaledOrder, PanicPorts, PanicRecord
from fortctl.services.panic.report import PanicReport, PanicStep
from fortctl.services.panic.state import PanicOptions
from support.clock import START_MS, FakeClock

PREFIX = "fcabc"
TRADING = ("reading", "spot_trading")
LOST = ExchangeError(Outcome.UNKNOWN, "HTTP 503")
NOW_S = START_MS / 1000


def pair(name: str, api_key: str) -> KeyPair:
    return KeyPair(name, KeyType.HMAC, Secret(api_key), Secret("s"))


def key(role: str, name: str = "", api_key: str = "") -> KnownKey:
    """Return a key that could be read."""
    text = api_key or (role * 64)[:64]
    return KnownKey(role, name or f"{role}-1", text[-4:], f"print-{text[-4:]}", pair(name or f"{role}-1", text))


def issued(known: KnownKey) -> IssuedKey:
    """Return the issuer's entry of a key that could be read."""
    assert known.pair is not None
    return IssuedKey(known.name, known.pair.api_key, TRADING if known.role == "robot" else ("reading",))


def order(number: int, name: str) -> OrderState:
    one = Decimal(1)
    return OrderState(
        *("BTCUSDT", number, name, Side.BUY, "LIMIT", one, one, Decimal(0), Decimal(0), OrderStatus.NEW, 0, 0)
    )


@dataclass
class Owner:
    pid: int = 7
    host: str = "here"


class Process:
    """The robot's process: there or not, stopped, silent, or answering what it did."""

    def __init__(self, state: str, result: Mapping[str, Any] | None = None) -> None:
        self.state = state
        self.result = result

    def owner(self) -> Owner | None:
        return None if self.state in ("none", "ended") else Owner()

    def is_stopped(self, owner: Any) -> bool:
        return self.state == "stopped"

    def query(self, request: Mapping[str, Any], *, timeout_s: float = 5.0) -> dict[str, Any]:
        if self.state != "answers":
            raise RobotUnreachableError("it gives no answer")
        if request["op"] == "halt":
            return {}
        self.state = "ended"
        return dict(self.result or {})

    def kill(self, owner: Any) -> bool:
        self.state = "ended"
        return True

    def wake(self) -> bool:
        return False

    def ensure_running(self, passphrase: Secret | None, *, timeout_s: float = 20.0) -> None:
        raise AssertionError("a panic brings no robot up")


class Exchange:
    """Orders that come to be at their own time, whoever sent them; what is asked is kept."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.coming: list[tuple[float, OrderState]] = []
        self.orders: list[OrderState] = []
        # Open at the exchange, and left out of its lists.
        self.unlisted: list[OrderState] = []
        self.faults: list[ExchangeError | None] = []
        self.deleted: set[str] = set()
        self.restrictions: ExchangeError | None = None
        self.looks = 0

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderState, ...]:
        self.looks += 1
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        if any("robot" in one for one in self.deleted):
            raise ExchangeError(Outcome.KEY_REFUSED, "no such key", code=-2008)
        self.orders += [one for at, one in self.coming if at <= self.clock.s]
        self.coming = [(at, one) for at, one in self.coming if at > self.clock.s]
        return tuple(self.orders)

    async def cancel(self, symbol: str, client_order_id: str, *, order_id: int | None = None) -> OrderState:
        everywhere = [*self.orders, *self.unlisted]
        found = next((one for one in everywhere if one.client_order_id == client_order_id), None)
        if found is None:
            raise ExchangeError(Outcome.ABSENT, "Unknown order sent.", code=-2011)
        (self.orders if found in self.orders else self.unlisted).remove(found)
        return found

    async def key_restrictions(self) -> None:
        if self.restrictions is not None:
            raise self.restrictions

    async def account(self) -> None:
        if self.restrictions is not None:
            raise self.restrictions

    async def previous_client_order_ids(self, symbol: str, order_id: int) -> tuple[str, ...]:
        return ()

    async def close(self) -> None:
        return


@dataclass
class Reader:
    """What the home says of its keys; implements ``services.panic.ports.KeyReader``."""

    site: KeysRead
    robot: KeysRead = field(default_factory=KeysRead)
    queued: Sequence[str] = ()

    def site_vault(self) -> KeysRead:
        return self.site

    def robot_vault(self) -> KeysRead:
        return self.robot

    def robot_card(self) -> Sequence[KnownKey]:
        return ()

    def never_had_robot(self) -> bool:
        return False

    def deliveries(self) -> Sequence[str]:
        return self.queued


@dataclass
class Bench:
    """What a panic meets."""

    folder: Path
    process: Process = field(default_factory=lambda: Process("none"))
    keys: KeysRead = field(default_factory=lambda: KeysRead((key("site"), key("robot"))))
    clock: FakeClock = field(default_factory=FakeClock)
    changes: dict[str, Any] = field(default_factory=dict)
    queued: Sequence[str] = ()
    journaled: Sequence[JournaledOrder] = ()

    def __post_init__(self) -> None:
        self.exchange = Exchange(self.clock)
        self.folder.mkdir(exist_ok=True)
        self.latch = LatchFile(self.folder)
        self.destroyed: tuple[str, ...] = ("default/key-0011223344556677",)
        self.audited: list[PanicRecord] = []
        self.published: list[PanicReport] = []

    def ports(self) -> PanicPorts:
        def destroy() -> tuple[str, ...]:
            gone, self.destroyed = self.destroyed, ()
            return gone

        made = PanicPorts(
            account="default",
            latch=self.latch,
            process=self.process,
            in_flight_ms=PROVED_AFTER_MS,
            remote=lambda: None,
            keys=Reader(self.keys, queued=self.queued),
            own_prefix=lambda: PREFIX,
            journaled_orders=lambda: self.journaled,
            destroy=destroy,
            empty_mailbox=lambda: None,
            abort_operation=lambda: None,
            open_operation=lambda: None,
            load_exchange=lambda: None,
            connect=lambda one: self.exchange,  # type: ignore[arg-type,return-value]
            issuer=lambda: None,
            audit=self.audited.append,
            fire=lambda event, facts, wait_s: (),
            hooks=lambda event: (),
            clock=self.clock,
            user="somebody",
        )
        return replace(made, **self.changes)

    def made(self, *, wait_dead_s: float = 0.0, plan: Sequence[PanicStepKind] = PLAN) -> Panic:
        options = PanicOptions(timeout_s=5.0, wait_dead_s=wait_dead_s)
        return Panic(self.ports(), options, plan=plan, publish=self.published.append)

    async def panic(self) -> PanicReport:
        return await self.made().run()


def step(report: PanicReport, name: str) -> PanicStep:
    return next(one for one in report.steps if one.name == name)


def told(report: PanicReport) -> list[tuple[str, str]]:
    """Return which keys a person must delete."""
    return [(action.role or "", action.name or "") for action in report.actions if action.kind is ActionKind.DELETE_KEY]


Make = Callable[[Path], Bench]


class Issuer:
    """A sub-account's keys; what is asked for may come later, and refusals come from a script."""

    def __init__(self, bench: Bench, *keys: IssuedKey) -> None:
        self.bench = bench
        self.keys = list(keys)
        self.coming: list[tuple[float, IssuedKey]] = []
        self.deleted: list[str] = []
        self.refusals: dict[str, list[ExchangeError]] = {}
        self.silent, self.refusal = 0, LOST

    async def create(
        self, name: str, public_key: str, permissions: Collection[str], addresses: Sequence[str]
    ) -> IssuedKey:
        raise AssertionError("a panic makes no key")

    async def list_keys(self) -> tuple[IssuedKey, ...]:
        if self.silent:
            self.silent -= 1
            raise self.refusal
        self.keys += [one for at, one in self.coming if at <= self.bench.clock.s]
        self.coming = [(at, one) for at, one in self.coming if at > self.bench.clock.s]
        return tuple(self.keys)

    async def addresses(self, api_key: Secret) -> tuple[str, ...]:
        return ()

    async def delete(self, api_key: Secret) -> None:
        found = next(one for one in self.keys if one.api_key.reveal() == api_key.reveal())
        refusals = self.refusals.get(found.name, [])
        if refusals:
            raise refusals.pop(0)
        self.keys.remove(found)
        self.deleted.append(found.name)
        self.bench.exchange.deleted.add(found.name)

    async def close(self) -> None:
        return
