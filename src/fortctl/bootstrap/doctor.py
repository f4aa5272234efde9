"""Assemble what the doctor inspects; nothing here changes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fortctl.bootstrap.container import Container
    from fortctl.services.doctor import DoctorPorts, Incident
    from fortctl.services.site_vault import SiteVault


def doctor_ports(container: Container) -> DoctorPorts:
    """Return the doctor's ports; the operator is never asked for a passphrase."""
    from fortctl.services.doctor import DoctorPorts
    from fortctl.services.vault import KEYFILE_BESIDE
    from fortctl.system.files import disk_of

    unattended = container.without_prompts()

    def vault_summary() -> str:
        header = container.vault_file.header()
        kinds = ", ".join(slot.kind for slot in header.slots)
        return f"generation {header.generation}, {len(header.records)} records, slots: {kinds}"

    def warn_vault() -> tuple[str, str, str] | None:
        kinds = [slot.kind for slot in container.vault_file.header().slots]
        if "keyfile" in kinds and container.home.keyfile.exists():
            code, reason = KEYFILE_BESIDE
            return code, reason, "move the key file to another device, or use a passphrase slot"
        return None

    def site_vault() -> SiteVault:
        return unattended.site_vault

    def pending() -> list[tuple[int, int]]:
        if not container.home.mailbox.exists():
            return []
        return container.mailbox.waiting(container.account)

    def rotation() -> str | None:
        from fortctl.bootstrap.rotation import rotation_journal

        if not container.home.operations.exists():
            return None
        journal = rotation_journal(container, "doctor")
        operation, owner = journal.current(), journal.owner()
        if operation is None:
            return None
        worker = f"process {owner.pid} on {owner.host} works on it" if owner else "no process works on it"
        return f"{operation.id} ({operation.mode}, {operation.scope}) is at '{operation.step}'; {worker}"

    def audit_intact() -> str:
        return f"{container.audit.check().entries} entries, the chain is intact"

    def panic_order() -> str:
        return container.panic_orders.state() if container.account_entry.robot == "remote" else ""

    def incidents() -> list[Incident]:
        from fortctl.robot.process.crash_reports import listed
        from fortctl.services.doctor import Incident

        reports = listed(container.robot_home.path)
        return [Incident(report["at"], report["where"], report["error"], report["path"]) for report in reports]

    def journal() -> str:
        from fortctl.robot.storage.offline_status import journal_summary

        if container.account_entry.robot == "remote":
            return "it is on the robot's host"
        return journal_summary(container.robot_home.journal)

    def disk() -> tuple[str, int]:
        return disk_of(container.robot_home.path)

    return DoctorPorts(
        home=str(container.home.path),
        account=container.account,
        wants_robot=container.account_entry.robot != "none",
        mode_problems=container.home.mode_problems,
        vault_summary=vault_summary,
        warn_vault=warn_vault,
        site_vault=site_vault,
        connect=container.connect,
        status_reader=container.status_reader,
        pending=pending,
        journal=journal,
        disk=disk,
        rotation=rotation,
        audit_intact=audit_intact,
        panic_order=panic_order,
        incidents=incidents,
        clock=container.clock,
    )
