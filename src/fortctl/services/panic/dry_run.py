"""What a panic would do now; nothing is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fortctl.errors import FortctlError
from fortctl.services.panic.key_inventory import KeyInventory
from fortctl.services.panic.ports import PanicPorts
from fortctl.services.panic.report import ROLES, KeysRead, PanicReport, PanicStep
from fortctl.services.rotation.hooks import POST_ROTATE
from fortctl.system.threads import run_in_daemon_thread

T = TypeVar("T")


async def dry_run(ports: PanicPorts, *, cancel_orders: bool) -> PanicReport:
    """Return the steps that a panic would take now, and what a person would have to do; nothing is done."""
    memory = KeyInventory(ports.account)
    memory.take(await _had(ports.read_keys, KeysRead((), ROLES)), ports.latch.read())
    names = ", ".join(key.name for key in memory.keys) or "none is known"
    remote = await _had(ports.remote, None)
    plan = [("latch", "the robot is latched off"), ("halt", await _halt(ports, remote is not None))]
    if remote is not None:
        plan.append(
            ("order to the robot's host", "the pre-signed order is left in the mailbox, and its answer awaited")
        )
    plan.append(("destroy keys", f"every copy is destroyed: {names}"))
    plan.append(("empty mailbox", "the robot's card is taken away, sealed deliveries are erased"))
    aborts, events = await _operation(ports)
    plan.append(("abort operation", aborts))
    if cancel_orders:
        plan.append(("cancel orders", "the robot's own open orders are cancelled, one by one"))
    told, opens = await _issuer(ports)
    plan.append(("delete at exchange", told))
    hooks = await _had(lambda: [name for event in events for name in ports.hooks(event)], None)
    if hooks is None:
        plan.append(("hooks", "the configuration cannot be read: none is run"))
    else:
        plan += [(f"hook {name}", "is run once everything is cut") for name in hooks]
    actions = [one for one in memory.actions() if not (opens and _certain(memory, one.get("name")))]
    steps = tuple(PanicStep(name, "would", 0.0, detail) for name, detail in plan)
    return PanicReport(ports.account, steps, 0.0, tuple(actions))


async def _had(work: Callable[[], T], instead: T) -> T:
    """Return what can be had; whatever is broken, the plan is told."""
    try:
        return await run_in_daemon_thread(work)
    except Exception:  # as the panic itself would
        return instead


async def _halt(ports: PanicPorts, elsewhere: bool) -> str:
    owner = await _had(ports.process.owner, None)
    if owner is not None:
        return f"pid {owner.pid} is halted"
    return "the robot is on another host" if elsewhere else "no robot is running here"


async def _operation(ports: PanicPorts) -> tuple[str, tuple[str, ...]]:
    """Tell what becomes of a rotation, and which events' hooks would be run."""
    try:
        found = await run_in_daemon_thread(ports.open_operation)
    except Exception:  # a store that is busy, for one
        return "whether a rotation is under way cannot be read now", ("on-panic",)
    if not found:
        return "no other operation is under way", ("on-panic",)
    return f"{found} is aborted", ("on-panic", POST_ROTATE)


async def _issuer(ports: PanicPorts) -> tuple[str, bool]:
    """Tell what the issuer would do, and whether its vault opens."""
    try:
        issuer = await run_in_daemon_thread(ports.issuer)
    except Exception as error:  # as the panic itself would
        why = error.message if isinstance(error, FortctlError) else type(error).__name__
        return f"the issuer's vault does not open ({why}): the keys are a person's to delete", False
    if issuer is None:
        return "a person issues this account's keys: they are a person's to delete", False
    await issuer.close()
    return "the issuer's vault opens: it deletes the keys that are in its list", True


def _certain(memory: KeyInventory, name: object) -> bool:
    """Return whether the issuer would find a key for certain, where its list names it."""
    return any(key.name == name and (key.pair is not None or key.fingerprint) for key in memory.keys) or any(
        one.name == name for one in memory.issued
    )
