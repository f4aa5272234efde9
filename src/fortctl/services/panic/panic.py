"""Cut every link between an account and its robot, whatever state the world is in (robot.md, "Panic").

Nothing here needs a passphrase, the configuration or a plugin. Every step is tried whatever became of the others, is
timed, and says in words what could not be done; steps that don't depend on each other run side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from fortctl.errors import FortctlError
from fortctl.ports import HookReport, IssuedKey
from fortctl.services.panic.cancel_orders import cancel_until
from fortctl.services.panic.delete_keys import KeyDeletion
from fortctl.services.panic.deletion_watch import DeletionWatch
from fortctl.services.panic.halt import HaltResult, LocalHalt, NothingToHaltError
from fortctl.services.panic.key_inventory import KEY_IN_FLIGHT_MS, KeyInventory, names_to_expect
from fortctl.services.panic.ports import PanicPorts, Remote
from fortctl.services.panic.report import (
    NOT_AT_EXCHANGE,
    REMEDIES,
    ROLES,
    UNREACHED,
    UNREAD,
    KeysRead,
    KnownKey,
    PanicReport,
    PanicStep,
    StepEndedError,
    why,
)
from fortctl.services.rotation.hooks import POST_ROTATE
from fortctl.system.threads import run_in_daemon_thread
from fortctl.timestamps import rfc3339
from fortctl.vault.erasure import IN_BACKUPS

# Two vaults and two stores, each in its own time (bootstrap/deadline.py); a disk that hangs.
READ_WITHIN_S = 6.5
HOOKS_WAIT_S = 1.0


class Panic:
    """One account's panic.

    Args:
        ports: what can be done.
        cancel_orders: cancel the robot's own open orders (one by one, never a person's).
        timeout_s: how long the robot may take to halt once it has acknowledged, or to obey on another host.
        tell: hears what was done before the keys' death is waited for.
    """

    def __init__(
        self,
        ports: PanicPorts,
        *,
        cancel_orders: bool,
        timeout_s: float,
        tell: Callable[[PanicReport], None] = lambda report: None,
    ) -> None:
        self._ports = ports
        self._tell = tell
        self._cancel = cancel_orders
        self._timeout_s = timeout_s
        self._steps: list[PanicStep] = []
        self._actions: list[dict[str, Any]] = []
        self._memory = KeyInventory(ports.account)
        self._now_ms = ports.clock.now_ms()
        self._read, self._cancelled, self._aborted = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._enough = asyncio.Event()
        self._still_open, self._unhalted, self._elsewhere = False, "", False
        self._post_rotate: Mapping[str, Any] | None = None

    async def run(self, *, wait_dead_s: float) -> PanicReport:
        """Do everything, in the order of robot.md, and report."""
        started = self._ports.clock.monotonic()
        await self._step("latch", self._latch)
        halting = asyncio.create_task(self._halts())
        await asyncio.gather(
            halting,
            self._keys_away(),
            _then(self._aborted, self._step("abort operation", self._abort)),
            _then(self._cancelled, self._step("cancel orders", lambda: self._cancel_left(halting))),
            self._step("delete at exchange", self._delete_at_exchange),
        )
        await self._step("look again", self._look_again)
        if self._still_open:
            await self._step("abort operation again", self._abort)
            if self._memory.issued:
                await self._step("delete at exchange again", self._delete_at_exchange)
        await self._step("record", self._record)
        await self._hooks(self._report(started))
        if wait_dead_s > 0:
            self._tell(self._report(started))
            await self._step("wait dead", lambda: self._wait_dead(wait_dead_s))
        for key in self._memory.keys:
            if key.pair is not None:
                key.pair.api_key.wipe()
                key.pair.secret.wipe()
        return self._report(started)

    def stop_waiting(self) -> None:
        """Wait no longer for the keys' death; whatever else is to be done is done."""
        self._enough.set()

    def _report(self, started: float) -> PanicReport:
        elapsed = (self._ports.clock.monotonic() - started) * 1000
        return PanicReport(self._ports.account, tuple(self._steps), elapsed, tuple(self._all_actions()))

    # -- steps -----------------------------------------------------------------------------------------------------

    async def _step(self, name: str, work: Callable[[], Awaitable[str]]) -> None:
        step = PanicStep(name)
        self._steps.append(step)
        started = self._ports.clock.monotonic()
        try:
            step.detail, step.state = await work(), "done"
        except NothingToHaltError as nothing:
            step.state, step.detail = "skipped", str(nothing)
        except StepEndedError as ended:
            step.state, step.detail = ended.state, str(ended)
        except Exception as error:  # panic goes on whatever breaks
            step.state, step.detail = "failed", why(error)
        step.elapsed_ms = (self._ports.clock.monotonic() - started) * 1000
        if step.state == "failed":
            self._failed(step)

    def _failed(self, step: PanicStep) -> None:
        remedy = REMEDIES.get(step.name)
        if remedy is not None:
            self._act("finish_step", f"{remedy.format(account=self._ports.account)} ({step.detail})", step=step.name)

    def _act(self, what: str, text: str, **facts: Any) -> None:
        self._actions.append(self._action(what, text, **facts))

    def _action(self, what: str, text: str, **facts: Any) -> dict[str, Any]:
        return {"what": what, "account": self._ports.account, "text": text, **facts}

    async def _latch(self) -> str:
        begun = {"at": rfc3339(self._now_ms), "at_ms": self._now_ms, "who": self._ports.who}

        await run_in_daemon_thread(
            self._ports.latch.update, lambda facts: {**begun, "cancel_orders": self._cancel, **facts}
        )
        return "on"

    async def _halts(self) -> HaltResult | None:
        found: list[HaltResult] = []
        asked = asyncio.ensure_future(run_in_daemon_thread(self._ports.remote))

        async def elsewhere() -> None:
            remote = await asked
            if remote is not None:
                self._elsewhere = True
                await self._step("order to the robot's host", lambda: self._order(found, remote))

        await asyncio.gather(self._step("halt", lambda: self._halt(found, asked)), elsewhere())
        return found[0] if found else None

    async def _halt(self, found: list[HaltResult], asked: asyncio.Future[Remote | None]) -> str:
        ports = self._ports
        local = LocalHalt(
            ports.process, ports.latch, ports.clock, cancel_orders=self._cancel, timeout_s=self._timeout_s
        )
        try:
            halted = await local.run()
        except NothingToHaltError:
            if await asked is not None:
                raise NothingToHaltError("the robot is on another host") from None
            raise
        except Exception as error:  # whatever broke, it may still be trading
            self._unhalted = why(error)
            raise
        found.append(halted)
        return halted.detail

    async def _order(self, found: list[HaltResult], remote: Remote) -> str:
        try:
            begun_ms = int(self._ports.latch.read().get("at_ms", self._now_ms))
            halted = await remote(self._cancel, self._timeout_s, begun_ms).run()
        except Exception as error:  # whatever broke, it may still be trading
            self._act(UNREACHED, f"the robot's host was not reached: {why(error)}", queued=False)
            raise
        key = (halted.result or {}).get("key")
        if key:
            self._memory.add(KnownKey.from_json(key))
        if not halted.reached:
            text = "the robot was not reached: it obeys at its next contact; end it on its own host if you can"
            self._act(UNREACHED, text, queued=halted.queued)
            raise StepEndedError("queued", halted.detail)
        found.append(halted)
        return halted.detail

    async def _keys_away(self) -> None:
        """Read what can be read, note the names, then destroy; a reading that hangs delays that no longer."""
        try:
            await self._step("read keys", self._read_keys)
        finally:
            self._read.set()
        await asyncio.gather(
            self._step("destroy keys", self._destroy), self._step("empty mailbox", self._empty_mailbox)
        )

    async def _read_keys(self) -> str:
        ports, memory, read = self._ports, self._memory, KeysRead((), ROLES)
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                read = await run_in_daemon_thread(ports.read_keys)
        finally:
            memory.take(read, ports.latch.read())
            # Before anything is destroyed: a panic that is run again must still know what lives at the exchange.
            await self._note()
        if not memory.actions():
            return "the account has no key"
        return f"{sum(key.pair is not None for key in memory.keys)} in memory, of {len(memory.keys)}"

    async def _note(self) -> None:
        with suppress(OSError):
            await run_in_daemon_thread(self._ports.latch.update, self._memory.noted)

    async def _destroy(self) -> str:
        destroyed = await run_in_daemon_thread(self._ports.destroy)
        held = [name for name in destroyed if name.partition("/")[2].rpartition("-")[0] not in NOT_AT_EXCHANGE]
        if held and not self._memory.keys:
            self._memory.unknown = set(ROLES)
        if not destroyed:
            return "nothing was left to destroy"
        return f"{len(destroyed)} erasure keys overwritten; {IN_BACKUPS}"

    async def _empty_mailbox(self) -> str:
        # Again, and not erased unread: it may have been locked before, and what lay in it lives at the exchange.
        try:
            self._memory.queued |= set(await run_in_daemon_thread(self._ports.queued))
        except Exception:
            self._act("finish_step", UNREAD.format(account=self._ports.account), step="empty mailbox")
            raise
        await self._note()
        await run_in_daemon_thread(self._ports.empty_mailbox)
        return "sealed deliveries erased"

    async def _abort(self) -> str:
        self._still_open = True
        aborted = await run_in_daemon_thread(self._ports.abort_operation)
        if aborted is not None:
            self._post_rotate = aborted.post_rotate or self._post_rotate
        if aborted is not None and aborted.names:
            at_ms = self._ports.clock.now_ms() if aborted.at_ms is None else aborted.at_ms
            until_ms = 0 if aborted.made else at_ms + KEY_IN_FLIGHT_MS
            await self._read.wait()
            self._memory.expect(names_to_expect(aborted.names, until_ms))
            await self._note()
        if aborted is not None and aborted.problem is not None:
            raise aborted.problem
        self._still_open = False
        if aborted is None or not aborted.detail:
            raise NothingToHaltError("no other operation was under way")
        return aborted.detail

    async def _cancel_left(self, halting: asyncio.Task[HaltResult | None]) -> str:
        if not self._cancel:
            raise NothingToHaltError("--keep-orders: they stay at the exchange")
        halted = await halting
        await self._read.wait()
        if halted is not None and halted.left_nothing:
            self._memory.orders_done = True
            raise NothingToHaltError("the robot cancelled them itself")
        if self._ports.latch.read().get("orders_done"):
            self._memory.orders_done = True
            raise NothingToHaltError("an earlier panic cancelled them")
        keys = self._memory.keys
        pair = next((key.pair for key in keys if key.role == "robot" and key.pair is not None), None)
        prefix = await run_in_daemon_thread(self._ports.own_prefix)
        if pair is None or prefix is None:
            known = any(key.role == "robot" for key in keys)
            if halted is None and not known and "robot" not in self._memory.unknown:
                raise NothingToHaltError("the account has no robot key")
            self._act_on_orders("")
            if not keys:
                self._memory.unknown = set(ROLES)
            raise NothingToHaltError(
                "no robot key could be read: the robot's open orders, if any, stay at the exchange"
            )
        clock = self._ports.clock
        until = clock.monotonic() + self._in_flight_ms() / 1000
        try:
            count = await cancel_until(self._ports.connect(pair), prefix, clock, until, self._timeout_s)
        except Exception as error:
            self._act_on_orders(f" ({error.message if isinstance(error, FortctlError) else why(error)})")
            raise
        if self._unhalted or any(one["what"] == UNREACHED for one in self._actions):
            self._act_on_orders(": the robot was not reached, and may place more")
            return f"{count} orders cancelled; the robot was not reached, and may place more"
        self._memory.orders_done = True
        return f"{count} orders cancelled"

    def _in_flight_ms(self) -> int:
        """Return how long an order that left before the latch may still come to be one."""
        latched_ms: int | None = self._ports.latch.read().get("at_ms")
        if latched_ms is None or self._elsewhere:
            # No latch could be written, or the robot's own came later: what was just halted counts.
            return self._ports.in_flight_ms
        left_ms = latched_ms + self._ports.in_flight_ms - self._ports.clock.now_ms()
        return min(self._ports.in_flight_ms, max(0, left_ms))

    def _act_on_orders(self, reason: str) -> None:
        text = "look for the robot's open orders on Binance's page (their names begin with 'fc') and cancel them"
        self._act("cancel_orders_at_exchange", f"{text}{reason}")

    async def _delete_at_exchange(self) -> str:
        await self._read.wait()
        issuer = await run_in_daemon_thread(self._ports.issuer)
        if issuer is None:
            raise NothingToHaltError("a person issues this account's keys")
        ports = self._ports
        deletion = KeyDeletion(issuer, self._memory, ports.connect, ports.clock, self._timeout_s)
        try:
            return await deletion.run(lambda: asyncio.gather(self._cancelled.wait(), self._aborted.wait()))
        finally:
            await issuer.close()

    async def _look_again(self) -> str:
        """A robot that was restarting may have come up since, and whoever delivered a key may have stored it."""
        ports = self._ports
        local = LocalHalt(
            ports.process, ports.latch, ports.clock, cancel_orders=self._cancel, timeout_s=self._timeout_s
        )
        found: str | Exception
        try:
            found, self._unhalted = await local.again(), ""
        except Exception as problem:  # what it may have written is destroyed all the same
            found, self._unhalted = problem, "" if isinstance(problem, NothingToHaltError) else why(problem)
        destroyed = await run_in_daemon_thread(ports.destroy)
        if isinstance(found, Exception) and not (destroyed and isinstance(found, NothingToHaltError)):
            raise found
        return f"{found}; {len(destroyed)} more erasure keys overwritten" if destroyed else str(found)

    async def _record(self) -> str:
        await run_in_daemon_thread(self._ports.latch.update, self._memory.noted)
        facts = {"actions": len(self._all_actions()), "keys": [key.as_json() for key in self._memory.keys]}
        await run_in_daemon_thread(self._ports.audit, "panic", facts)
        return "the latch and the audit log tell what was done"

    async def _wait_dead(self, wait_s: float) -> str:
        issuer, memory = await run_in_daemon_thread(self._ports.issuer), self._memory
        known = memory.alive()

        async def listed() -> tuple[IssuedKey, ...] | None:
            return await issuer.listed() if issuer is not None else None

        watching = asyncio.ensure_future(
            DeletionWatch(self._ports.connect, listed, memory.same, self._ports.clock).watch(known, wait_s)
        )
        enough = asyncio.ensure_future(self._enough.wait())
        try:
            await asyncio.wait({watching, enough}, return_when=asyncio.FIRST_COMPLETED)
            if not watching.done():
                raise StepEndedError("unproved", "interrupted: nobody waited any longer")
            left = watching.result()
        finally:
            for task in (watching, enough):
                task.cancel()
            await asyncio.gather(watching, enough, return_exceptions=True)
            if issuer is not None:
                await issuer.close()
        memory.mark_deleted(key for key in known if not any(key.same_as(one) for one in left))
        await self._note()
        unproved = [*(key.name for key in left), *memory.unprovable()]
        if unproved:
            raise StepEndedError("unproved", f"unproved: {', '.join(unproved)}")
        return "every old key is proved dead"

    def _all_actions(self) -> list[dict[str, Any]]:
        text = f"the robot was not halted: {self._unhalted}"
        stays = [self._action(UNREACHED, text, queued=False)] if self._unhalted else []
        return [*stays, *self._actions, *self._memory.actions()]

    async def _hooks(self, report: PanicReport) -> None:
        """Run the hooks once everything is cut, and wait for them no longer than a moment."""
        told = [self._fire("on-panic", {"by": "panic-disconnect", **report.as_json()})]
        if self._post_rotate is not None:
            told.append(self._fire(POST_ROTATE, self._post_rotate))
        for steps in await asyncio.gather(*told):
            self._steps += steps

    async def _fire(self, event: str, facts: Mapping[str, Any]) -> list[PanicStep]:
        started = self._ports.clock.monotonic()
        try:
            reports = await run_in_daemon_thread(self._ports.fire, event, facts, HOOKS_WAIT_S)
        except Exception as error:  # a configuration that cannot be read, for one
            detail = error.message if isinstance(error, FortctlError) else why(error)
            reports = [HookReport("hooks", "failed", detail)]
        elapsed = (self._ports.clock.monotonic() - started) * 1000
        return [PanicStep(f"hook {one.name}", one.state, elapsed, one.detail) for one in reports]


async def _then(over: asyncio.Event, work: Awaitable[None]) -> None:
    """Do something, and say when it is over, however it ended."""
    try:
        await work
    finally:
        over.set()
