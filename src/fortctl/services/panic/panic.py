"""Play the table of steps: cut every link between an account and its robot, whatever state the machine is in.

The steps run side by side as far as :data:`fortctl.services.panic.plan.PLAN` lets them. One that fails, or that has not
ended at its limit, is reported as failed; the steps after it begin all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from fortctl.services.panic.actions import ActionKind
from fortctl.services.panic.early_latch import EarlyLatch
from fortctl.services.panic.key_inventory import KeyInventory
from fortctl.services.panic.plan import HOOKS, LATCH, PLAN, PanicStepKind
from fortctl.services.panic.ports import PanicPorts
from fortctl.services.panic.report import (
    RUNNING,
    PanicReport,
    PanicStep,
    StepEndedError,
    StepNotNeededError,
    StepSkippedError,
    why,
)
from fortctl.services.panic.state import PanicContext, PanicOptions, PanicState
from fortctl.services.panic.steps import ON_FAILURE, STEPS

# How long a step that was cancelled at its limit may take to close what it had open.
CLOSE_WITHIN_S = 0.5


class Panic:
    """One account's panic.

    Args:
        ports: what can be done.
        options: the command's.
        early_latch: the latch, where the command has written it before it loaded this package.
        publish: receives the report of what was done before the wait for the keys' deletion begins.
        plan: the table of steps.
    """

    def __init__(
        self,
        ports: PanicPorts,
        options: PanicOptions,
        *,
        early_latch: EarlyLatch | None = None,
        publish: Callable[[PanicReport], None] = lambda report: None,
        plan: Sequence[PanicStepKind] = PLAN,
    ) -> None:
        self._ports = ports
        self._options = options
        self._early_latch = early_latch
        self._publish = publish
        self._plan = plan
        began_ms = ports.clock.now_ms() if early_latch is None else early_latch.at_ms
        self._began = ports.clock.monotonic() if early_latch is None else early_latch.began
        self._state = PanicState(began_ms, KeyInventory(ports.account))
        self._steps: dict[str, PanicStep] = {}
        self._over = {kind.name: asyncio.Event() for kind in plan}
        self._enough = asyncio.Event()

    async def run(self) -> PanicReport:
        """Play every step of the table; return the report."""
        try:
            await asyncio.gather(*(self._play(kind) for kind in self._plan))
        finally:
            for key in self._state.inventory.keys:
                if key.pair is not None:
                    key.pair.api_key.wipe()
                    key.pair.secret.wipe()
        return self._report()

    def stop_waiting(self) -> None:
        """Wait no longer for the keys' deletion; every other step is done."""
        self._enough.set()

    async def _play(self, kind: PanicStepKind) -> None:
        """Play one step once those before it are over, however they ended."""
        try:
            await self._wait_for(*kind.after)
            await self._perform(kind)
        finally:
            self._over[kind.name].set()

    async def _wait_for(self, *names: str) -> None:
        for name in names:
            await self._over[name].wait()

    async def _perform(self, kind: PanicStepKind) -> None:
        step = self._steps[kind.name] = PanicStep(kind.name)
        started = self._ports.clock.monotonic()
        limit = _StepTimer(kind.limit.total_s(self._options.timeout_s, self._options.wait_dead_s))
        context = self._context(limit)
        try:
            step.detail, step.state = await limit.run(STEPS[kind.name](context)), "done"
        except StepNotNeededError:
            del self._steps[kind.name]
            return
        except StepSkippedError as skipped:
            step.state, step.detail = "skipped", str(skipped)
        except StepEndedError as ended:
            step.state, step.detail = ended.state, str(ended)
        except Exception as error:  # the other steps are done whatever breaks
            step.state, step.detail = "failed", why(error)
            if kind.name in ON_FAILURE:
                ON_FAILURE[kind.name](context, error)
            if kind.remedy:
                text = f"{kind.remedy.format(account=self._ports.account)} ({step.detail})"
                self._state.add_action(ActionKind.FINISH_STEP, text, step=kind.name)
        step.elapsed_ms = (self._ports.clock.monotonic() - started) * 1000
        if kind.name == LATCH and self._early_latch is not None:
            step.elapsed_ms += self._early_latch.elapsed_ms

    def _context(self, limit: _StepTimer) -> PanicContext:
        async def wait_for(*names: str) -> None:
            with limit.paused():
                await self._wait_for(*names)

        return PanicContext(
            self._ports,
            self._options,
            self._state,
            wait_for,
            self._report,
            self._publish,
            self._enough,
            self._early_latch,
        )

    def _report(self) -> PanicReport:
        """Return what was done so far, in the table's order, without the steps that are at work."""
        steps: list[PanicStep] = []
        for kind in self._plan:
            step = self._steps.get(kind.name)
            if kind.name == HOOKS:
                steps += self._state.hook_steps
            elif kind.reported and step is not None and step.state != RUNNING:
                steps.append(step)
        elapsed = (self._ports.clock.monotonic() - self._began) * 1000
        return PanicReport(self._ports.account, tuple(steps), elapsed, self._state.all_actions())


class _StepTimer:
    """Runs one step under its limit.

    Args:
        seconds: the limit.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._since = 0.0
        self._expired = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None

    async def run(self, work: Awaitable[str]) -> str:
        """Return what the step returns. Raises what it raises, and ``TimeoutError`` when the limit is over."""
        task, expired = asyncio.ensure_future(work), asyncio.ensure_future(self._expired.wait())
        self._start()
        try:
            await asyncio.wait({task, expired}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            task.cancel()
            # A step that closes what it had open may hang in that, too.
            await asyncio.wait({task}, timeout=CLOSE_WITHIN_S)
            if task.done() and not task.cancelled():
                task.exception()
            raise TimeoutError
        finally:
            self._stop()
            expired.cancel()
            task.cancel()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock while the step waits for other steps."""
        self._stop()
        try:
            yield
        finally:
            self._start()

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        self._alarm = loop.call_later(self._left, self._expired.set)

    def _stop(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._left = max(0.0, self._left - (asyncio.get_running_loop().time() - self._since))
            self._alarm = None
