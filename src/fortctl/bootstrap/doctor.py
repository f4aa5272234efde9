"""Assemble what the doctor checks; nothing here changes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fortctl.bootstrap.container import Container
    from fortctl.services.doctor import DoctorPorts, Incident
    from fortctl.services.site_vault import SiteVault


def doctor_ports(container: Container) -> DoctorPorts:
    """Return the doctor's ports; the operator is never asked for a passphrase."""
    from fortctl.services.doctor import DoctorPorts

    vault, robot, home = _VaultReports(container), _RobotReports(container), _HomeReports(container)
    return DoctorPorts(
        home=str(container.home.path),
        account=container.account,
        wants_robot=container.account_entry.robot != "none",
        mode_problems=container.home.mode_problems,
        vault_summary=vault.summary,
        warn_vault=vault.warning,
        site_vault=vault.unlock,
        connect=container.connect,
        status_reader=container.status_reader,
        pending=robot.pending,
        journal=robot.journal,
        disk=robot.disk,
        rotation=home.rotation,
        audit_intact=home.audit_log,
        panic_order=robot.panic_order,
        incidents=robot.incidents,
        clock=container.clock,
    )


class _VaultReports:
    """What the doctor asks of the site's vault."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def summary(self) -> str:
        header = self._container.vault_file.header()
        kinds = ", ".join(slot.kind for slot in header.slots)
        return f"generation {header.generation}, {len(header.records)} records, slots: {kinds}"

    def warning(self) -> tuple[str, str, str] | None:
        from fortctl.services.vault import KEYFILE_BESIDE

        kinds = [slot.kind for slot in self._container.vault_file.header().slots]
        if "keyfile" in kinds and self._container.home.keyfile.exists():
            code, reason = KEYFILE_BESIDE
            return code, reason, "move the key file to another device, or use a passphrase slot"
        return None

    def unlock(self) -> SiteVault:
        return self._container.without_prompts().site_vault


class _RobotReports:
    """What the doctor asks of the account's robot, beside its status."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._is_remote = container.account_entry.robot == "remote"

    def pending(self) -> list[tuple[int, int]]:
        if not self._container.home.mailbox.exists():
            return []
        return self._container.mailbox.waiting(self._container.account)

    def journal(self) -> str:
        from fortctl.robot.storage.offline_status import journal_summary

        if self._is_remote:
            return "it is on the robot's host"
        return journal_summary(self._container.robot_home.journal)

    def disk(self) -> tuple[str, int]:
        from fortctl.system.files import disk_of

        return disk_of(self._container.robot_home.path)

    def panic_order(self) -> str:
        return self._container.panic_orders.state() if self._is_remote else ""

    def incidents(self) -> list[Incident]:
        from fortctl.robot.process.crash_reports import listed
        from fortctl.services.doctor import Incident

        reports = listed(self._container.robot_home.path)
        return [Incident(report["at"], report["where"], report["error"], report["path"]) for report in reports]


class _HomeReports:
    """What the doctor asks of the home's logs and operations."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def rotation(self) -> str | None:
        from fortctl.bootstrap.rotation import rotation_journal

        if not self._container.home.operations.exists():
            return None
        journal = rotation_journal(self._container, "doctor")
        operation, owner = journal.current(), journal.owner()
        if operation is None:
            return None
        worker = f"process {owner.pid} on {owner.host} works on it" if owner else "no process works on it"
        return f"{operation.id} ({operation.mode}, {operation.scope}) is at '{operation.step}'; {worker}"

    def audit_log(self) -> str:
        return f"{self._container.audit.check().entries} entries, the chain is intact"
