"""What a panic would do now; nothing is done."""

from __future__ import annotations

import asyncio

from fortctl.services.panic_ports import PanicPorts
from fortctl.services.panic_report import PanicReport, Step


async def dry_run(ports: PanicPorts, *, cancel_orders: bool) -> PanicReport:
    """Return the steps that a panic would take now; nothing is done."""
    owner = await asyncio.to_thread(ports.process.owner)
    try:
        keys = (await asyncio.to_thread(ports.read_keys)).keys
    except Exception:  # as the panic itself would
        keys = ()
    names = ", ".join(key.name for key in keys) or "none is known"
    plan = [("latch", "the robot is latched off")]
    plan.append(("halt", f"pid {owner.pid} is halted" if owner else "no robot is running here"))
    if ports.remote is not None:
        plan.append(
            ("order to the robot's host", "the pre-signed order is left in the mailbox, and its answer awaited")
        )
    plan.append(("destroy keys", f"every copy is destroyed: {names}"))
    if cancel_orders:
        plan.append(("cancel orders", "the robot's own open orders are cancelled, one by one"))
    plan.append(("delete at exchange", "where an issuer's vault opens without asking"))
    return PanicReport(ports.account, tuple(Step(name, "would", 0.0, detail) for name, detail in plan), 0.0, ())
