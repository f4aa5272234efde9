"""Cut every link between an account and its robot, whatever state the world is in (robot.md, "Panic").

Nothing here needs a passphrase, the configuration or a plugin. Every step is tried whatever became of the others, is
timed, and says in words what could not be done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fortctl.errors import FortctlError, RobotUnreachable
from fortctl.model import KeyPair
from fortctl.ports import Clock, Exchange, ExchangeFault, Latch, RobotProcess
from fortctl.times import rfc3339

ACKNOWLEDGE_WITHIN_S = 0.3
DRAIN_PLACERS_S = 0.2


@dataclass
class Step:
    """One step of the panic: what became of it, in how many milliseconds."""

    name: str
    state: str = "skipped"
    elapsed_ms: float = 0.0
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "elapsed_ms": round(self.elapsed_ms, 1),
            "detail": self.detail,
        }


@dataclass(frozen=True)
class KnownKey:
    """A key that a person must delete at Binance; ``pair`` is there only where it could be read in time."""

    role: str
    name: str
    tail: str = ""
    fingerprint: str = ""
    pair: KeyPair | None = field(default=None, repr=False)

    def as_json(self) -> dict[str, Any]:
        return {"role": self.role, "name": self.name, "tail": self.tail, "fingerprint": self.fingerprint}


@dataclass(frozen=True)
class PanicPorts:
    """What panic can do for one account; each callable may raise anything, and is contained.

    Attributes:
        latch: the robot's latch.
        process: the robot's process on this machine.
        read_keys: every key that can be read without asking a person (into memory only).
        own_prefix: the prefix of the robot's client order ids, or None where it cannot be known.
        destroy: destroys every copy's erasure keys; returns what it destroyed.
        withdraw_card: takes the robot's card out of the mailbox and erases queued deliveries.
        connect: makes an exchange adapter.
        audit: writes one audit entry, best effort.
    """

    account: str
    latch: Latch
    process: RobotProcess
    read_keys: Callable[[], list[KnownKey]]
    own_prefix: Callable[[], str | None]
    destroy: Callable[[], tuple[str, ...]]
    withdraw_card: Callable[[], None]
    connect: Callable[[KeyPair], Exchange]
    audit: Callable[[str, Mapping[str, Any]], None]
    clock: Clock
    who: str


@dataclass(frozen=True)
class PanicReport:
    """How one account's panic went; ``actions`` is what a person must still do."""

    account: str
    steps: tuple[Step, ...]
    elapsed_ms: float
    actions: tuple[dict[str, Any], ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "account": self.account,
            "steps": [step.as_json() for step in self.steps],
            "elapsed_ms": round(self.elapsed_ms, 1),
            "actions": list(self.actions),
        }


class Panic:
    """One account's panic.

    Args:
        ports: what can be done.
        cancel_orders: cancel the robot's own open orders (one by one, never a person's).
        timeout_s: how long the robot may take to halt once it has acknowledged.
    """

    def __init__(self, ports: PanicPorts, *, cancel_orders: bool, timeout_s: float) -> None:
        self._ports = ports
        self._cancel = cancel_orders
        self._timeout_s = timeout_s
        self._steps: list[Step] = []
        self._keys: list[KnownKey] = []
        self._robot_finished = False

    async def run(self, *, wait_dead_s: float) -> PanicReport:
        """Do everything, in the order of robot.md, and report."""
        started = self._ports.clock.monotonic()
        before = self._ports.latch.read()
        await self._step("latch", self._latch)
        # Reading the keys needs neither the robot nor the network and must come before their destruction.
        await self._step("read keys", self._read_keys)
        await asyncio.gather(self._step("halt", self._halt), self._step("destroy keys", self._destroy))
        await self._step("withdraw card", self._withdraw)
        if self._cancel:
            await self._step("cancel orders", self._cancel_left)
        known = self._known(before)
        dead = await self._wait_dead(known, wait_dead_s)
        actions = self._actions([key for key in known if key.fingerprint not in dead or not key.fingerprint])
        await self._step("record", lambda: self._record(known, actions))
        for key in self._keys:
            if key.pair is not None:
                key.pair.api_key.wipe()
                key.pair.secret.wipe()
        elapsed = (self._ports.clock.monotonic() - started) * 1000
        return PanicReport(self._ports.account, tuple(self._steps), elapsed, tuple(actions))

    async def _step(self, name: str, work: Callable[[], Awaitable[str]]) -> None:
        step = Step(name)
        self._steps.append(step)
        started = self._ports.clock.monotonic()
        try:
            step.detail, step.state = await work(), "done"
        except _Skipped as skipped:
            step.detail = str(skipped)
        except FortctlError as error:
            step.state, step.detail = "failed", f"{error.message}; {error.hint}"
        except Exception as error:  # panic goes on whatever breaks
            step.state, step.detail = "failed", f"{type(error).__name__}: {_harmless(error)}"
        step.elapsed_ms = (self._ports.clock.monotonic() - started) * 1000

    async def _latch(self) -> str:
        facts = dict(self._ports.latch.read())
        facts.setdefault("at", rfc3339(self._ports.clock.now_ms()))
        facts.setdefault("who", self._ports.who)
        self._ports.latch.set(facts)
        return "on"

    async def _read_keys(self) -> str:
        self._keys = await asyncio.to_thread(self._ports.read_keys)
        return f"{sum(key.pair is not None for key in self._keys)} in memory, of {len(self._keys)}"

    async def _halt(self) -> str:
        owner = self._ports.process.owner()
        if owner is None:
            raise _Skipped("no robot is running")
        request = {"op": "halt", "cancel_orders": self._cancel}
        try:
            await asyncio.to_thread(self._ports.process.query, request, timeout_s=ACKNOWLEDGE_WITHIN_S)
        except FortctlError:
            return await self._kill(owner, "it gave no answer")
        try:
            result = await asyncio.to_thread(
                self._ports.process.query, {"op": "halt-result"}, timeout_s=self._timeout_s
            )
        except RobotUnreachable:
            result = None
        deadline = self._ports.clock.monotonic() + (1.0 if result is not None else 0.0)
        while self._ports.process.owner() is not None:
            if self._ports.clock.monotonic() > deadline:
                return await self._kill(owner, "it did not end in time")
            await self._ports.clock.sleep(0.005)
        if result is None:
            return "the robot ended without saying what it cancelled"
        self._robot_finished = not result.get("left")
        return f"the robot halted, cancelled {len(result.get('cancelled', ()))} orders and ended"

    async def _kill(self, owner: Any, why: str) -> str:
        await asyncio.to_thread(self._ports.latch.drain_placers, DRAIN_PLACERS_S)
        if not await asyncio.to_thread(self._ports.process.kill, owner):
            raise RobotUnreachable(f"{why} and could not be killed", hint=f"kill process {owner.pid} as its user")
        return f"{why}: killed (pid {owner.pid})"

    async def _destroy(self) -> str:
        destroyed = await asyncio.to_thread(self._ports.destroy)
        return f"{len(destroyed)} erasure keys overwritten" if destroyed else "nothing was left to destroy"

    async def _withdraw(self) -> str:
        self._ports.withdraw_card()
        return "sealed deliveries erased"

    async def _cancel_left(self) -> str:
        if self._robot_finished:
            raise _Skipped("the robot cancelled them itself")
        pair = next((key.pair for key in self._keys if key.role == "robot" and key.pair is not None), None)
        prefix = self._ports.own_prefix()
        if pair is None or prefix is None:
            raise _Skipped("no robot key could be read: open orders, if any, stay at the exchange")
        exchange = self._ports.connect(pair)
        try:
            async with asyncio.timeout(self._timeout_s):
                own = [order for order in await exchange.open_orders() if order.client_order_id.startswith(prefix)]
                await asyncio.gather(*(exchange.cancel(order.symbol, order.client_order_id) for order in own))
        finally:
            await exchange.close()
        return f"{len(own)} orders cancelled"

    def _known(self, before: Mapping[str, Any]) -> list[KnownKey]:
        """Return the keys found now, and those that an earlier panic had found and nobody proved dead."""
        known = list(self._keys)
        for entry in before.get("keys", ()):
            role, name, tail, shown = (str(entry.get(part, "")) for part in ("role", "name", "tail", "fingerprint"))
            key = KnownKey(role, name, tail, shown)
            if all((key.role, key.name, key.tail) != (other.role, other.name, other.tail) for other in known):
                known.append(key)
        return known

    async def _wait_dead(self, known: list[KnownKey], wait_s: float) -> set[str]:
        """Return the fingerprints of keys that are proved dead (robot.md: -2008 of apiRestrictions)."""
        if wait_s <= 0:
            return set()
        step = Step("wait dead")
        self._steps.append(step)
        started = self._ports.clock.monotonic()
        dead: set[str] = set()
        askable = [key for key in known if key.pair is not None]
        while len(dead) < len(askable) and self._ports.clock.monotonic() - started < wait_s:
            for key in askable:
                if key.fingerprint not in dead and key.pair is not None and await self._is_dead(key.pair):
                    dead.add(key.fingerprint)
            await self._ports.clock.sleep(0.25)
        unproved = [key.name for key in known if key.fingerprint not in dead or not key.fingerprint]
        step.state = "done" if not unproved else "unproved"
        step.detail = "every old key is proved dead" if not unproved else f"unproved: {', '.join(unproved)}"
        step.elapsed_ms = (self._ports.clock.monotonic() - started) * 1000
        return dead

    async def _is_dead(self, pair: KeyPair) -> bool:
        exchange = self._ports.connect(pair)
        try:
            await exchange.key_restrictions()
        except ExchangeFault as fault:
            return fault.code == -2008
        finally:
            await exchange.close()
        return False

    def _actions(self, alive: list[KnownKey]) -> list[dict[str, Any]]:
        actions: list[dict[str, Any]] = [
            {
                "what": "delete_key_at_exchange",
                "account": self._ports.account,
                **key.as_json(),
                "text": f"delete the {key.role} key '{key.name}'"
                + (f" (…{key.tail})" if key.tail else "")
                + " on Binance's API management page",
            }
            for key in alive
        ]
        actions += [
            {"what": "finish_step", "account": self._ports.account, "step": step.name, "text": step.detail}
            for step in self._steps
            if step.state == "failed"
        ]
        return actions

    async def _record(self, known: list[KnownKey], actions: list[dict[str, Any]]) -> str:
        alive = {(action.get("role"), action.get("name")) for action in actions}
        facts = dict(self._ports.latch.read())
        facts["keys"] = [key.as_json() for key in known if (key.role, key.name) in alive]
        self._ports.latch.set(facts)
        self._ports.audit("panic", {"actions": len(actions)})
        return "the latch and the audit log tell what was done"


class _Skipped(Exception):
    """A step that has nothing to do, and why."""


def _harmless(error: Exception) -> str:
    """Return the text of an operating system's error; other texts could quote anything."""
    return (error.strerror or "") if isinstance(error, OSError) else ""


def dry_run(ports: PanicPorts, *, cancel_orders: bool) -> list[dict[str, Any]]:
    """Return the steps that a panic would take now; nothing is done."""
    owner = ports.process.owner()
    try:
        keys = [key.name for key in ports.read_keys()]
    except (FortctlError, OSError):
        keys = []
    plan = [
        ("latch", "the robot is latched off"),
        ("halt", f"pid {owner.pid} is halted" if owner else "no robot is running"),
        ("destroy keys", f"both copies are destroyed: {', '.join(keys) or 'none is known'}"),
    ]
    if cancel_orders:
        plan.append(("cancel orders", "the robot's own open orders are cancelled, one by one"))
    return [Step(name, "would", 0.0, detail).as_json() for name, detail in plan]
