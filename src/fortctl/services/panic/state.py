"""What the steps of one panic have learnt, and what each of them may use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fortctl.services.panic.actions import Action, ActionKind
from fortctl.services.panic.early_latch import EarlyLatch
from fortctl.services.panic.halt import HaltResult
from fortctl.services.panic.key_inventory import KeyInventory
from fortctl.services.panic.ports import HookFacts, PanicPorts, RemoteHaltFactory
from fortctl.services.panic.report import PanicReport, PanicStep


@dataclass(frozen=True)
class PanicOptions:
    """The command's options.

    Attributes:
        cancel_orders: cancel the robot's own open orders (one by one, never a person's).
        timeout_s: how long the robot may take to halt once it has acknowledged, or to obey on another host (s).
        wait_dead_s: how long to wait until the old keys are proved deleted (s); 0: not at all.
    """

    cancel_orders: bool = True
    timeout_s: float = 5.0
    wait_dead_s: float = 0.0


@dataclass
class PanicState:
    """The facts that steps leave for later ones; after each fact, in brackets, the step that writes it.

    Attributes:
        began_ms: when the panic began (ms).
        inventory: the account's keys (read keys, and whatever learns more of them).
        remote: how a robot on another host is halted; None: it runs here (locate robot).
        location_unknown: it could not be read where the robot runs (locate robot).
        halted: how the robot was halted (halt, order to the robot's host).
        halt_error: why a robot of this machine may still run; empty: it does not (halt, look again).
        host_unreached: a robot on another host may still trade (order to the robot's host).
        deliveries_read: it is known which keys were on their way to the robot (empty mailbox).
        operation_may_be_open: no attempt to end the rotation has succeeded (abort operation, and again).
        abort_repeated: a second attempt to end the rotation was made (abort operation again).
        post_rotate: the facts of the ``post-rotate`` hook (abort operation, and again).
        hook_steps: how the hooks ended (hooks).
        actions: what is left for a person, beside what ``inventory`` and ``halt_error`` say (any step).
    """

    began_ms: int
    inventory: KeyInventory
    remote: RemoteHaltFactory | None = None
    location_unknown: bool = False
    halted: HaltResult | None = None
    halt_error: str = ""
    host_unreached: bool = False
    deliveries_read: bool = False
    operation_may_be_open: bool = False
    abort_repeated: bool = False
    post_rotate: HookFacts | None = None
    hook_steps: list[PanicStep] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)

    @property
    def may_still_trade(self) -> bool:
        """Whether a robot may place orders although the panic asked it to halt."""
        return bool(self.halt_error) or self.host_unreached

    def add_action(self, kind: ActionKind, text: str, *, step: str | None = None, queued: bool | None = None) -> None:
        """Leave something for a person to do (see :class:`Action`)."""
        self.actions.append(Action(kind, self.inventory.account, text, step=step, queued=queued))

    def all_actions(self) -> tuple[Action, ...]:
        """Return everything that is left for a person."""
        unhalted = []
        if self.halt_error:
            text = f"the robot was not halted: {self.halt_error}"
            unhalted.append(Action(ActionKind.ROBOT_UNREACHED, self.inventory.account, text, queued=False))
        return (*unhalted, *self.actions, *self.inventory.actions())


@dataclass(frozen=True)
class PanicContext:
    """What a step may use.

    Attributes:
        wait_for: waits until the named steps are over; that time does not count against the step's limit.
        report: makes the report of what was done so far.
        publish: hands that report to the person before the wait for the keys' deletion begins.
        enough: is set when the person wants to wait no longer.
        early_latch: the latch that was written already, or None.
    """

    ports: PanicPorts
    options: PanicOptions
    state: PanicState
    wait_for: Callable[..., Awaitable[None]]
    report: Callable[[], PanicReport]
    publish: Callable[[PanicReport], None]
    enough: asyncio.Event
    early_latch: EarlyLatch | None = None
