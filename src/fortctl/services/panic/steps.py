"""The steps of a panic: one function for each row of :data:`fortctl.services.panic.plan.PLAN`.

A step returns what it did, as text, or raises: ``StepSkippedError`` where there was nothing to do, ``StepEndedError``
where it ended otherwise, ``StepNotNeededError`` where it does not belong to this panic; anything else is a failure. It
reads and writes :class:`fortctl.services.panic.state.PanicState`, and touches the machine in daemon threads alone, so
that a disk that hangs keeps no other step waiting. What one step alone needs is imported in it: the robot is halted
meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from fortctl.errors import FortctlError, RobotUnreachableError
from fortctl.ports import HookReport, IssuedKey
from fortctl.services.panic import plan
from fortctl.services.panic.actions import ActionKind
from fortctl.services.panic.early_latch import latch_begun
from fortctl.services.panic.halt import LocalHalt
from fortctl.services.panic.key_inventory import KEY_IN_FLIGHT_MS, pending_names
from fortctl.services.panic.known_key import NOT_AT_EXCHANGE, ROLES, KeysRead
from fortctl.services.panic.latch_facts import LatchFacts
from fortctl.services.panic.ports import HookFacts, JournaledOrder, PanicRecord
from fortctl.services.panic.read_keys import read_all_keys
from fortctl.services.panic.report import (
    PanicStep,
    StepEndedError,
    StepNotNeededError,
    StepSkippedError,
    message_of,
    why,
)
from fortctl.services.panic.state import PanicContext
from fortctl.system.threads import run_in_daemon_thread

StepFunction = Callable[[PanicContext], Awaitable[str]]
HOOKS_WAIT_S = 1.0
# The journal only adds to what the exchange lists: a long one must not keep orders from being cancelled.
JOURNAL_TIMEOUT_S = 2.0
# Of the step "look again": what is left of its limit is for the copies.
KILL_WITHIN_S = 4.0


# -- the robot ---------------------------------------------------------------------------------------------------------


async def write_latch(panic: PanicContext) -> str:
    """Write the latch, unless it was written before this package was loaded."""
    if panic.early_latch is None or not panic.early_latch.written:
        begun = latch_begun(panic.state.began_ms, panic.ports.user, panic.options.cancel_orders)
        await run_in_daemon_thread(panic.ports.latch.update, lambda facts: {**begun, **facts})
    return "on"


async def locate_robot(panic: PanicContext) -> str:
    panic.state.remote = await run_in_daemon_thread(panic.ports.remote)
    return "on this machine" if panic.state.remote is None else "on another host"


async def halt(panic: PanicContext) -> str:
    """Halt the robot of this machine."""
    try:
        halted = await _local_halt(panic).run()
    except StepSkippedError:
        await panic.wait_for(plan.LOCATE_ROBOT)
        if panic.state.remote is not None:
            raise StepSkippedError("the robot is on another host") from None
        raise
    panic.state.halted = panic.state.halted or halted
    return halted.detail


async def order_robot(panic: PanicContext) -> str:
    """Have the robot on another host halt."""
    state, options = panic.state, panic.options
    if state.remote is None:
        await _require_located(panic)
        raise StepNotNeededError
    # A panic that is run again waits for the answer to the order of the first one.
    began_ms = (await _latch_facts(panic)).at_ms
    remote = state.remote(options.cancel_orders, options.timeout_s, state.began_ms if began_ms is None else began_ms)
    halted = await remote.run()
    if halted.key is not None:
        state.inventory.add_keys(halted.key)
    if not halted.reached:
        state.host_unreached = True
        panic.state.add_action(
            ActionKind.ROBOT_UNREACHED,
            "the robot was not reached: it obeys at its next contact; end it on its own host if you can",
            queued=halted.queued,
        )
        raise StepEndedError("queued", halted.detail)
    state.halted = state.halted or halted
    return halted.detail


async def _require_located(panic: PanicContext) -> None:
    """Raise ``RobotUnreachableError`` where a robot may run on another host for all that is known."""
    if not panic.state.location_unknown:
        return
    await panic.wait_for(plan.HALT)
    if panic.state.halted is None:
        raise RobotUnreachableError(
            "it could not be read whether the robot runs on another host", hint="if it does, panic there, too"
        )


def _local_halt(panic: PanicContext) -> LocalHalt:
    ports, options = panic.ports, panic.options
    return LocalHalt(
        ports.process,
        ports.latch,
        ports.clock,
        cancel_orders=options.cancel_orders,
        timeout_s=options.timeout_s,
    )


async def look_again(panic: PanicContext) -> str:
    """Kill a robot that was restarting meanwhile, and destroy the copy that a delivery may have stored meanwhile."""
    try:
        async with asyncio.timeout(KILL_WITHIN_S):
            killed: str | Exception = await _local_halt(panic).kill_again()
        panic.state.halt_error = ""
    except StepSkippedError as nothing:
        killed, panic.state.halt_error = nothing, ""
    except Exception as problem:  # what the robot may have written is destroyed all the same
        killed, panic.state.halt_error = problem, why(problem)
    destroyed = await run_in_daemon_thread(panic.ports.destroy)
    if isinstance(killed, Exception) and not (destroyed and isinstance(killed, StepSkippedError)):
        raise killed
    return f"{killed}; {len(destroyed)} more erasure keys overwritten" if destroyed else str(killed)


# -- the keys of this home ---------------------------------------------------------------------------------------------


async def read_keys(panic: PanicContext) -> str:
    """Read every key that can be read, and note the names before anything is destroyed."""
    inventory = panic.state.inventory
    answer = await read_all_keys(panic.ports.keys)
    inventory.add_read(answer.read)
    inventory.queued |= answer.queued
    inventory.add_noted(await _latch_facts(panic))
    # Before anything is destroyed: a panic that is run again must still know what lives at the exchange.
    await _note(panic)
    readable = sum(key.pair is not None for key in inventory.keys)
    detail = f"{readable} in memory, of {len(inventory.keys)}" if inventory.actions() else "the account has no key"
    if answer.late:
        raise StepEndedError("failed", f"not read in time: {', '.join(answer.late)}; {detail}")
    return detail


async def destroy_keys(panic: PanicContext) -> str:
    """Overwrite the erasure keys of every copy."""
    from fortctl.vault.erasure import IN_BACKUPS

    inventory = panic.state.inventory
    destroyed = await run_in_daemon_thread(panic.ports.destroy)
    of_exchange = [name for name in destroyed if name.partition("/")[2].rpartition("-")[0] not in NOT_AT_EXCHANGE]
    if of_exchange and not inventory.keys:
        inventory.unknown = set(ROLES)
    if not destroyed:
        return "nothing was left to destroy"
    return f"{len(destroyed)} erasure keys overwritten; {IN_BACKUPS}"


async def empty_mailbox(panic: PanicContext) -> str:
    """Note once more what was on its way to the robot (the mailbox may have been locked before), then erase it."""
    panic.state.inventory.queued |= set(await run_in_daemon_thread(panic.ports.keys.deliveries))
    panic.state.deliveries_read = True
    await _note(panic)
    await run_in_daemon_thread(panic.ports.empty_mailbox)
    return "sealed deliveries erased"


async def abort_operation(panic: PanicContext) -> str:
    """End an open rotation, and note under which names it may have had keys made."""
    state = panic.state
    state.operation_may_be_open = True
    aborted = await run_in_daemon_thread(panic.ports.abort_operation)
    if aborted is None:
        state.operation_may_be_open = False
        raise StepSkippedError("no other operation was open")
    state.post_rotate = aborted.post_rotate or state.post_rotate
    if aborted.names:
        at_ms = panic.ports.clock.now_ms() if aborted.at_ms is None else aborted.at_ms
        until_ms = 0 if aborted.all_made else at_ms + KEY_IN_FLIGHT_MS
        state.inventory.add_pending_names(pending_names(aborted.names, until_ms))
        await _note(panic)
    if aborted.problem is not None:
        raise aborted.problem
    state.operation_may_be_open = False
    if not aborted.detail:
        raise StepSkippedError("no other operation was open")
    return aborted.detail


async def abort_operation_again(panic: PanicContext) -> str:
    if not panic.state.operation_may_be_open:
        raise StepNotNeededError
    panic.state.abort_repeated = True
    return await abort_operation(panic)


# -- the exchange ------------------------------------------------------------------------------------------------------


async def cancel_orders(panic: PanicContext) -> str:
    """Cancel what the robot left open, with its own key from memory."""
    from fortctl.services.panic.cancel_orders import cancel_until

    state, ports = panic.state, panic.ports
    if not panic.options.cancel_orders:
        raise StepSkippedError("--keep-orders: they stay at the exchange")
    facts = await _latch_facts(panic)
    settled = _why_settled(panic, facts)
    if settled:
        state.inventory.orders_done = True
        raise StepSkippedError(settled)
    pair = next((key.pair for key in state.inventory.keys if key.role == "robot" and key.pair is not None), None)
    prefix = await run_in_daemon_thread(ports.own_prefix)
    if pair is None or prefix is None:
        raise StepSkippedError(_without_key(panic))
    await _load_exchange(panic)
    until = ports.clock.monotonic() + _in_flight_ms(panic, facts) / 1000
    journaled, unread = await _journaled_orders(panic)
    cancelled = await cancel_until(ports.connect(pair), prefix, ports.clock, until, panic.options.timeout_s, journaled)
    summary = f"{cancelled.count} orders cancelled"
    if cancelled.unlisted:
        summary += f"; the exchange's list left out {len(cancelled.unlisted)} of them, which the robot's journal names"
    if unread:
        summary += f"; {unread}: the exchange's list alone was used"
    if state.may_still_trade:
        _add_orders_action(panic, ": the robot was not reached, and may place more")
        return f"{summary}; the robot was not reached, and may place more"
    state.inventory.orders_done = True
    return summary


async def _journaled_orders(panic: PanicContext) -> tuple[Sequence[JournaledOrder], str]:
    """Return the orders that the robot's journal holds as open, and why it could not be read in time."""
    try:
        async with asyncio.timeout(JOURNAL_TIMEOUT_S):
            return await run_in_daemon_thread(panic.ports.journaled_orders), ""
    except TimeoutError:
        return (), f"the robot's journal could not be read within {JOURNAL_TIMEOUT_S:.0f} s"
    except (FortctlError, OSError, ValueError) as error:
        return (), f"the robot's journal cannot be read ({error})"


def _why_settled(panic: PanicContext, facts: LatchFacts) -> str:
    """Return why no order of the robot is left, or an empty text."""
    halted = panic.state.halted
    if halted is not None and halted.left_nothing:
        return "the robot cancelled them itself"
    return "an earlier panic cancelled them" if facts.orders_done else ""


def _without_key(panic: PanicContext) -> str:
    """Return what the report says where the robot's key could not be read; have a person look for the orders."""
    inventory = panic.state.inventory
    had_key = "robot" in inventory.unknown or any(key.role == "robot" for key in inventory.keys)
    if panic.state.halted is None and not had_key:
        return "the account has no robot key"
    _add_orders_action(panic, "")
    if not inventory.keys:
        inventory.unknown = set(ROLES)
    return "no robot key could be read: the robot's open orders, if any, stay at the exchange"


def _in_flight_ms(panic: PanicContext, facts: LatchFacts) -> int:
    """Return how long an order that left before the latch may still arrive (ms)."""
    limit_ms = panic.ports.in_flight_ms
    if facts.at_ms is None or panic.state.remote is not None:
        # No latch could be written, or the robot's own came later: what was just halted counts.
        return limit_ms
    return min(limit_ms, max(0, facts.at_ms + limit_ms - panic.ports.clock.now_ms()))


def _add_orders_action(panic: PanicContext, reason: str) -> None:
    text = "look for the robot's open orders on Binance's page (their names begin with 'fc') and cancel them"
    panic.state.add_action(ActionKind.CANCEL_ORDERS, f"{text}{reason}")


async def delete_at_exchange(panic: PanicContext) -> str:
    """Have the issuer delete the account's keys."""
    from fortctl.services.panic.delete_keys import KeyDeletion

    ports = panic.ports
    issuer = await run_in_daemon_thread(ports.issuer)
    if issuer is None:
        raise StepSkippedError("a person issues this account's keys")
    deletion = KeyDeletion(issuer, panic.state.inventory, ports.connect, ports.clock, panic.options.timeout_s)
    try:
        await _load_exchange(panic)
        return await deletion.run(lambda: panic.wait_for(plan.CANCEL_ORDERS, plan.ABORT_OPERATION))
    finally:
        await issuer.close()


async def delete_at_exchange_again(panic: PanicContext) -> str:
    """Delete the keys of the rotation that could not be ended at first."""
    if not (panic.state.abort_repeated and panic.state.inventory.issued):
        raise StepNotNeededError
    return await delete_at_exchange(panic)


async def wait_dead(panic: PanicContext) -> str:
    """Ask until every key that may live is proved deleted."""
    from fortctl.services.panic.deletion_watch import DeletionWatch

    ports, inventory = panic.ports, panic.state.inventory
    if panic.options.wait_dead_s <= 0:
        raise StepNotNeededError
    panic.publish(panic.report())
    issuer = await run_in_daemon_thread(ports.issuer)
    await _load_exchange(panic)
    known = inventory.alive()

    async def listed() -> tuple[IssuedKey, ...] | None:
        return await issuer.list_keys() if issuer is not None else None

    watch = DeletionWatch(ports.connect, listed, inventory.is_same, ports.clock)
    watching = asyncio.ensure_future(watch.watch(known, panic.options.wait_dead_s))
    enough = asyncio.ensure_future(panic.enough.wait())
    try:
        await asyncio.wait({watching, enough}, return_when=asyncio.FIRST_COMPLETED)
        if not watching.done():
            raise StepEndedError("unproved", "interrupted: the keys may still live")
        alive = watching.result()
    finally:
        for task in (watching, enough):
            task.cancel()
        await asyncio.gather(watching, enough, return_exceptions=True)
        if issuer is not None:
            await issuer.close()
    inventory.mark_deleted(key for key in known if not any(key.same_as(other) for other in alive))
    await _note(panic)
    unproved = [*(key.name for key in alive), *inventory.unprovable()]
    if unproved:
        raise StepEndedError("unproved", f"unproved: {', '.join(unproved)}")
    return "every old key is proved deleted"


async def _load_exchange(panic: PanicContext) -> None:
    try:
        await run_in_daemon_thread(panic.ports.load_exchange)
    except Exception:  # connecting fails, too, and its caller says why
        return


# -- the end -----------------------------------------------------------------------------------------------------------


async def record(panic: PanicContext) -> str:
    """Note in the latch and in the audit log what was done."""
    await _write_notes(panic)
    panic_record = PanicRecord(len(panic.state.all_actions()), tuple(panic.state.inventory.keys))
    await run_in_daemon_thread(panic.ports.audit, panic_record)
    return "the latch and the audit log say what was done"


async def run_hooks(panic: PanicContext) -> str:
    """Run the hooks once everything is cut, and wait for them no longer than a moment."""
    from fortctl.services.rotation.hooks import POST_ROTATE

    runs = [_fire(panic, "on-panic", {"by": "panic-disconnect", **panic.report().as_json()})]
    if panic.state.post_rotate is not None:
        runs.append(_fire(panic, POST_ROTATE, panic.state.post_rotate))
    for steps in await asyncio.gather(*runs):
        panic.state.hook_steps += steps
    return f"{len(panic.state.hook_steps)} hooks were run"


async def _fire(panic: PanicContext, event: str, facts: HookFacts) -> list[PanicStep]:
    clock = panic.ports.clock
    started = clock.monotonic()
    try:
        reports = await run_in_daemon_thread(panic.ports.fire, event, facts, HOOKS_WAIT_S)
    except Exception as error:  # a configuration that cannot be read, for one
        reports = [HookReport("hooks", "failed", message_of(error))]
    elapsed = (clock.monotonic() - started) * 1000
    return [PanicStep(f"hook {report.name}", report.state, elapsed, report.detail) for report in reports]


async def _latch_facts(panic: PanicContext) -> LatchFacts:
    return LatchFacts.from_json(await run_in_daemon_thread(panic.ports.latch.read))


async def _note(panic: PanicContext) -> None:
    """Note the inventory in the latch, best effort; add what a panic that runs beside this one has noted there."""
    with suppress(OSError):
        await _write_notes(panic)


async def _write_notes(panic: PanicContext) -> None:
    """Note the inventory in the latch. Raises ``OSError``: the latch could not be written."""
    noted: list[LatchFacts] = []
    inventory = panic.state.inventory
    snapshot = inventory.snapshot()

    def merge(facts: dict[str, Any]) -> dict[str, Any]:
        noted.append(LatchFacts.from_json(facts))
        return snapshot.merged_into(facts)

    await run_in_daemon_thread(panic.ports.latch.update, merge)
    for facts in noted:
        inventory.add_noted(facts)


# -- what follows a failure --------------------------------------------------------------------------------------------


def _halt_failed(panic: PanicContext, error: Exception) -> None:
    panic.state.halt_error = why(error)


def _locate_failed(panic: PanicContext, error: Exception) -> None:
    panic.state.location_unknown = True


def _order_failed(panic: PanicContext, error: Exception) -> None:
    panic.state.host_unreached = True
    panic.state.add_action(ActionKind.ROBOT_UNREACHED, f"the robot's host was not reached: {why(error)}", queued=False)


def _read_failed(panic: PanicContext, error: Exception) -> None:
    if not panic.state.inventory.vaults_read:
        panic.state.inventory.add_read(KeysRead(unknown=ROLES))


def _mailbox_failed(panic: PanicContext, error: Exception) -> None:
    # What lies in a mailbox that was read is sealed to a key that is destroyed.
    if not panic.state.deliveries_read:
        panic.state.add_action(
            ActionKind.FINISH_STEP,
            f"it is not known whether a key was on its way to the robot of account {panic.ports.account}: run this"
            " again once the mailbox can be read, or delete on Binance's page the robot key that you sent last",
            step=plan.EMPTY_MAILBOX,
        )


def _cancel_failed(panic: PanicContext, error: Exception) -> None:
    _add_orders_action(panic, f" ({message_of(error)})")


def _hooks_failed(panic: PanicContext, error: Exception) -> None:
    panic.state.hook_steps.append(PanicStep("hook hooks", "failed", detail=message_of(error)))


STEPS: dict[str, StepFunction] = {
    plan.LATCH: write_latch,
    plan.LOCATE_ROBOT: locate_robot,
    plan.HALT: halt,
    plan.ORDER: order_robot,
    plan.READ_KEYS: read_keys,
    plan.DESTROY_KEYS: destroy_keys,
    plan.EMPTY_MAILBOX: empty_mailbox,
    plan.ABORT_OPERATION: abort_operation,
    plan.CANCEL_ORDERS: cancel_orders,
    plan.DELETE_AT_EXCHANGE: delete_at_exchange,
    plan.LOOK_AGAIN: look_again,
    plan.ABORT_AGAIN: abort_operation_again,
    plan.DELETE_AGAIN: delete_at_exchange_again,
    plan.RECORD: record,
    plan.HOOKS: run_hooks,
    plan.WAIT_DEAD: wait_dead,
}
# Called when a step failed or its limit was over, beside the table's remedy.
ON_FAILURE: dict[str, Callable[[PanicContext, Exception], None]] = {
    plan.LOCATE_ROBOT: _locate_failed,
    plan.HALT: _halt_failed,
    plan.ORDER: _order_failed,
    plan.READ_KEYS: _read_failed,
    plan.EMPTY_MAILBOX: _mailbox_failed,
    plan.CANCEL_ORDERS: _cancel_failed,
    plan.HOOKS: _hooks_failed,
}
