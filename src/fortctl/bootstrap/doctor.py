"""Wires the doctor: everything it looks at, nothing that changes anything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fortctl.commands.init import KEYFILE_BESIDE

if TYPE_CHECKING:
    from fortctl.cli.context import CommandContext
    from fortctl.services.doctor import DoctorPorts
    from fortctl.services.site_vault import SiteVault


def doctor_ports(app: CommandContext) -> DoctorPorts:
    """Return what the doctor may look at."""
    from fortctl.cli.context import CommandContext as NewApp
    from fortctl.services.doctor import DoctorPorts

    wiring = app.wiring
    # The doctor never asks a person.
    silent = NewApp(replace(app.globals, no_input=True)).wiring

    def vault_summary() -> str:
        header = wiring.vault_file.header()
        kinds = ", ".join(slot.kind for slot in header.slots)
        return f"generation {header.generation}, {len(header.records)} records, slots: {kinds}"

    def warn_vault() -> tuple[str, str, str] | None:
        kinds = [slot.kind for slot in wiring.vault_file.header().slots]
        if "keyfile" in kinds and wiring.home.keyfile.exists():
            code, reason = KEYFILE_BESIDE
            return code, reason, "move the key file to another device, or use a passphrase slot"
        return None

    def custody() -> SiteVault:
        return silent.custody

    def pending() -> list[tuple[int, int]]:
        if not wiring.home.mailbox.exists():
            return []
        return wiring.mailbox.waiting(wiring.account)

    def rotation() -> str | None:
        from fortctl.bootstrap.rotation import rotation_journal

        if not wiring.home.operations.exists():
            return None
        journal = rotation_journal(app, "doctor")
        found, owner = journal.current(), journal.owner()
        if found is None:
            return None
        who = f"process {owner.pid} on {owner.host} works on it" if owner else "nobody works on it"
        return f"{found.id} ({found.mode}, {found.scope}) stands at '{found.step}'; {who}"

    def audit_intact() -> str:
        return f"{wiring.audit.check().entries} entries, the chain is whole"

    def panic_order() -> str:
        return wiring.panic_orders.state() if wiring.entry.robot == "remote" else ""

    def incidents() -> list[dict[str, Any]]:
        from fortctl.robot.process.crash_reports import listed

        return listed(wiring.robot_home.path)

    def journal() -> str:
        from fortctl.robot.storage.offline_status import journal_summary

        if wiring.entry.robot == "remote":
            return "it lies on the robot's host"
        return journal_summary(wiring.robot_home.journal)

    return DoctorPorts(
        home=str(wiring.home.path),
        account=wiring.account,
        wants_robot=wiring.entry.robot != "none",
        mode_problems=wiring.home.mode_problems,
        vault_summary=vault_summary,
        warn_vault=warn_vault,
        custody=custody,
        connect=wiring.connect,
        watch=wiring.watch,
        pending=pending,
        journal=journal,
        rotation=rotation,
        audit_intact=audit_intact,
        panic_order=panic_order,
        incidents=incidents,
        clock=wiring.clock,
    )
