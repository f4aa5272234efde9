"""Report what a panic would do now, and do nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fortctl.services.panic import plan
from fortctl.services.panic.key_inventory import KeyInventory
from fortctl.services.panic.latch_facts import LatchFacts
from fortctl.services.panic.ports import PanicPorts
from fortctl.services.panic.read_keys import read_all_keys
from fortctl.services.panic.report import PanicReport, PanicStep, message_of
from fortctl.services.rotation.hooks import POST_ROTATE
from fortctl.system.threads import run_in_daemon_thread

T = TypeVar("T")
READ_WITHIN_S = 4.0


async def dry_run(ports: PanicPorts, *, cancel_orders: bool) -> PanicReport:
    """Return the steps that a panic would take now, and what a person would have to do."""
    inventory = KeyInventory(ports.account)
    answer = await read_all_keys(ports.keys)
    inventory.add_read(answer.read)
    inventory.queued |= answer.queued
    inventory.add_noted(LatchFacts.from_json(await _read(ports.latch.read, {})))
    names = ", ".join(key.name for key in inventory.keys) or "none is known"
    is_remote = await _read(ports.remote, None) is not None
    aborts, events = await _operation(ports)
    deletes, opens = await _issuer(ports)
    steps = [(plan.LATCH, "the robot is latched off"), (plan.HALT, await _halt(ports, is_remote))]
    if is_remote:
        steps.append((plan.ORDER, "the pre-signed order is left in the mailbox, and its answer awaited"))
    steps.append((plan.DESTROY_KEYS, f"every copy is destroyed: {names}"))
    steps.append((plan.EMPTY_MAILBOX, "the robot's card and the sealed deliveries are erased"))
    steps.append((plan.ABORT_OPERATION, aborts))
    if cancel_orders:
        steps.append((plan.CANCEL_ORDERS, "the robot's own open orders are cancelled, one by one"))
    steps.append((plan.DELETE_AT_EXCHANGE, deletes))
    hooks = await _read(lambda: [name for event in events for name in ports.hooks(event)], None)
    if hooks is None:
        steps.append((plan.HOOKS, "the configuration cannot be read: none is run"))
    else:
        steps += [(f"hook {name}", "is run once everything is cut") for name in hooks]
    actions = tuple(
        action for action in inventory.actions() if not (opens and _can_be_identified(inventory, action.name))
    )
    return PanicReport(
        ports.account, tuple(PanicStep(name, "would", 0.0, detail) for name, detail in steps), 0.0, actions
    )


async def _read(work: Callable[[], T], otherwise: T) -> T:
    """Return what can be read in time, or *otherwise*."""
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            return await run_in_daemon_thread(work)
    except Exception:  # as the panic itself would
        return otherwise


async def _halt(ports: PanicPorts, is_remote: bool) -> str:
    owner = await _read(ports.process.owner, None)
    if owner is not None:
        return f"pid {owner.pid} is halted"
    return "the robot is on another host" if is_remote else "no robot is running here"


async def _operation(ports: PanicPorts) -> tuple[str, tuple[str, ...]]:
    """Return what happens to a rotation, and the events whose hooks would be run."""
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            operation = await run_in_daemon_thread(ports.open_operation)
    except Exception:  # a store that is busy, for one
        return "whether a rotation is open cannot be read now", ("on-panic",)
    if not operation:
        return "no other operation is open", ("on-panic",)
    return f"{operation} is aborted", ("on-panic", POST_ROTATE)


async def _issuer(ports: PanicPorts) -> tuple[str, bool]:
    """Return what the issuer would do, and whether its vault opens."""
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            issuer = await run_in_daemon_thread(ports.issuer)
    except Exception as error:  # as the panic itself would
        return f"the issuer's vault does not open ({message_of(error)}): the keys are a person's to delete", False
    if issuer is None:
        return "a person issues this account's keys: they are a person's to delete", False
    await issuer.close()
    return "the issuer's vault opens: it deletes the keys that are in its list", True


def _can_be_identified(inventory: KeyInventory, name: str | None) -> bool:
    """Return whether the issuer would recognise a key for certain, where its list names it."""
    return any(key.name == name and (key.pair is not None or key.fingerprint) for key in inventory.keys) or any(
        entry.name == name for entry in inventory.issued
    )
