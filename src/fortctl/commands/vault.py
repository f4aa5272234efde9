"""``fortctl vault``: what unlocks the vaults of this home, and their backups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.render import table
from fortctl.cli.result import Result
from fortctl.config.home import write_private
from fortctl.errors import BadInputError, ConflictError
from fortctl.system.files import read_regular
from fortctl.timestamps import age_days, rfc3339

if TYPE_CHECKING:
    from fortctl.ports import RecordMeta
    from fortctl.services.vault import VaultService
    from fortctl.vault.file import OpenVault, VaultFile

vault = group("vault", "What unlocks the vault, and its backups.")
slot = vault.subgroup("slot", "The ways to unlock it.")
WHOSE = click.option(
    "--of", "whose", type=click.Choice(["site", "robot"]), default="site", show_default=True, help="Whose vault."
)
NEW_PASSPHRASE = click.option("--new-passphrase-file", metavar="FILE", help="The new passphrase; else it is asked for.")


class _Chosen:
    """The site's vault or the local robot's, with what goes with it."""

    def __init__(self, app: CommandContext, whose: str) -> None:
        from fortctl.services.vault import RobotVaultService

        wiring = app.wiring
        wiring.entry  # noqa: B018 (the account is checked before the vault is looked at)
        self._app, self._robot = app, whose == "robot"
        self.file: VaultFile = wiring.robot_vault_file if self._robot else wiring.vault_file
        self.keyfile: Path = wiring.robot_home.keyfile if self._robot else wiring.home.keyfile
        self.service: VaultService = (
            RobotVaultService(wiring.audit, wiring.clock, wiring.account) if self._robot else wiring.vaults
        )

    def open(self) -> OpenVault:
        if not self._robot:
            return self._app.wiring.vault
        kinds = [one.kind for one in self.file.header().slots]
        given = self._app.globals.robot_passphrase_file
        return self.file.unlock([self._app.wiring.unlocker(kinds, self.keyfile, "robot", given)])


@vault.command("status", help="Slots, cost, generation, records; nothing is unlocked.")
@WHOSE
def status(app: CommandContext, whose: str) -> Result:
    from fortctl.services.vault import slot_row

    chosen = _Chosen(app, whose)
    header, now = chosen.file.header(), app.wiring.clock.now_ms()
    data: dict[str, Any] = {
        "path": str(chosen.file.path),
        "vault_id": header.vault_id,
        "generation": header.generation,
        "written_at": rfc3339(header.written_at),
        "age_days": age_days(header.written_at, now),
        "locked_by": chosen.file.holder(),
        "keyfile_beside": chosen.keyfile.exists(),
        "slots": [slot_row(one) for one in header.slots],
        "records": [_record_row(meta, meta.record_id in header.destroyed) for meta in header.records],
    }

    def text() -> str:
        slots = [[one["id"], one["kind"], one["hint"], _cost(one["kdf"])] for one in data["slots"]]
        names = ("id", "role", "name", "type", "version", "created_at", "destroyed")
        records = [[one[name] for name in names] for one in data["records"]]
        return "\n\n".join(
            [
                f"vault {data['vault_id']} at {data['path']}: generation {data['generation']},"
                f" written {data['written_at']}"
                + (f", being written by pid {data['locked_by']}" if data["locked_by"] else ""),
                table(["slot", "kind", "hint", "cost"], slots),
                table([name.replace("_", " ") for name in names], records),
            ]
        )

    return Result(data, text=text)


@vault.command("change-passphrase", help="Put a new passphrase in the old one's place; no record is encrypted again.")
@WHOSE
@NEW_PASSPHRASE
def change_passphrase(app: CommandContext, whose: str, new_passphrase_file: str | None) -> Result:
    from fortctl.bootstrap.unlock import new_source
    from fortctl.services.vault import slot_row

    chosen = _Chosen(app, whose)
    if all(one.kind != "passphrase" for one in chosen.file.header().slots):
        raise ConflictError("this vault has no passphrase", hint="'fortctl vault slot add passphrase' adds one")
    opened = chosen.open()
    source = new_source(app, "passphrase", chosen.keyfile, new_passphrase_file, None, f"the {whose} vault")
    made = slot_row(chosen.service.change_passphrase(opened, source))  # type: ignore[arg-type]
    warning = ("OLD_BACKUPS", "backups made before still open with the old passphrase: delete them")
    return Result({"slot": made}, True, (warning,), f"passphrase of the {whose} vault changed (slot {made['id']})")


@slot.command("add", help="Let one more source unlock the vault.")
@click.argument("kind", type=click.Choice(["passphrase", "keyfile", "keyring"]))
@WHOSE
@NEW_PASSPHRASE
def add(app: CommandContext, kind: str, whose: str, new_passphrase_file: str | None) -> Result:
    from fortctl.bootstrap.unlock import new_source
    from fortctl.commands.init import KEYFILE_BESIDE
    from fortctl.services.vault import slot_row

    chosen = _Chosen(app, whose)
    opened = chosen.open()
    source = new_source(app, kind, chosen.keyfile, new_passphrase_file, None, f"the {whose} vault")
    made = slot_row(chosen.service.add_slot(opened, source, kind))
    warnings = (KEYFILE_BESIDE,) if kind == "keyfile" else ()
    return Result({"slot": made}, True, warnings, f"slot {made['id']} ({kind}) added to the {whose} vault")


@slot.command("remove", help="Take a way to unlock it away; never the last one.")
@click.argument("slot_id", metavar="ID")
@WHOSE
def remove(app: CommandContext, slot_id: str, whose: str) -> Result:
    from fortctl.services.vault import slot_row
    from fortctl.vault.keyring import OsKeyring
    from fortctl.vault.slots import Keyring

    chosen = _Chosen(app, whose)
    app.confirm(f"Remove slot {slot_id} of the {whose} vault?")
    opened = chosen.open()
    removed = slot_row(chosen.service.remove_slot(opened, slot_id, Keyring(OsKeyring())))
    warnings = []
    left = chosen.file.header().slots
    if removed["kind"] == "keyfile" and chosen.keyfile.exists() and all(one.kind != "keyfile" for one in left):
        warnings.append(("KEYFILE_LEFT", f"the key file {chosen.keyfile} still opens older copies of the vault"))
    return Result({"slot": removed}, True, tuple(warnings), f"slot {slot_id} removed from the {whose} vault")


@vault.command("backup", help="Write the site vault with its erasure keys into one file; no key file is in it.")
@click.option("--output", "-o", "target", metavar="FILE", required=True, help="The backup, which must not be there.")
def backup(app: CommandContext, target: str) -> Result:
    wiring = app.wiring
    wiring.entry  # noqa: B018
    path = Path(target).expanduser().absolute()
    if path.exists():
        raise ConflictError(f"{path} is there already", hint="nothing was overwritten: choose another name")
    if not path.parent.is_dir():
        raise BadInputError(f"there is no folder {path.parent}", hint="make it first")
    opened = wiring.vault
    data = wiring.vaults.backup(opened, read_regular(wiring.home.config).decode())
    write_private(path, data)
    facts = {"path": str(path), "generation": opened.generation, "records": len(opened.records())}
    warning = (
        "BACKUP_LIVES",
        "a key that is deleted later still lives in this backup, for whoever can unlock the vault",
    )
    return Result(facts, True, (warning,), f"vault of generation {opened.generation} written to {path}")


@vault.command("restore", help="Put a backup in the vault's place.")
@click.argument("source", metavar="FILE")
@click.option("--older", is_flag=True, help="Also over a vault of a later generation.")
def restore(app: CommandContext, source: str, older: bool) -> Result:
    from fortctl.vault.backup import read_backup

    wiring, home = app.wiring, app.wiring.home
    home.ensure()
    data = app.read_input(source)
    kinds = [one.kind for one in read_backup(data).document.slots]
    app.confirm("Put the backup in the vault's place?")
    unlocker = wiring.unlocker(kinds, home.keyfile, "", app.globals.passphrase_file)
    opened, back, config = wiring.vaults.restore(wiring.vault_file, data, [unlocker], older=older)
    if not home.config.exists():
        write_private(home.config, config.encode())
    rows: list[dict[str, Any]] = [
        {"id": meta.record_id, "account": meta.account, "role": meta.role, "name": meta.name} for meta in back
    ]
    facts = {"generation": opened.generation, "comes_back": rows}
    lines = [f"vault restored as generation {opened.generation}; {len(rows)} records come back to life"]
    lines += [f"  {row['id']} {row['name']}" for row in rows]
    _warn_of_latches(app, rows)
    return Result(facts, True, text="\n".join(lines))


def _warn_of_latches(app: CommandContext, rows: list[dict[str, Any]]) -> None:
    """Say that a latch stays, and that what a panic destroyed lives again. No backup holds or lifts a latch."""
    from fortctl.robot.storage.latch import LatchFile

    home = app.wiring.home
    for account in sorted({row["account"] for row in rows if row["account"]} | {app.globals.account}):
        if LatchFile(home.robot(account).path).is_latched():
            back = ", ".join(f"'{row['name']}'" for row in rows if row["account"] == account and row["role"])
            revived = f"; keys that the panic destroyed live here again: {back}" if back else ""
            app.warn("LATCHED", f"account {account} stays latched after its panic{revived}")


@vault.command("accept", help="Accept the vault as it is, although the audit log tells of another.")
@click.option("--confirm", metavar="GENERATION", help="The vault's generation, typed again.")
@click.option("--above", type=click.IntRange(0), default=0, help="Write it above the generation that a robot has seen.")
def accept(app: CommandContext, confirm: str | None, above: int) -> Result:
    wiring = app.wiring
    wiring.entry  # noqa: B018
    wiring.tolerant = True
    there = wiring.vault_file.header().generation
    app.confirm_typed(str(there), confirm, f"The vault is at generation {there}. Accept it?")
    opened = wiring.vault
    if opened.generation != there:
        raise ConflictError("the vault was changed meanwhile", hint="look again: nothing was accepted")
    generation = wiring.vaults.accept(opened, above)
    return Result({"generation": generation}, True, text=f"the vault of generation {generation} is accepted")


def _record_row(meta: RecordMeta, destroyed: bool) -> dict[str, Any]:
    return {
        "id": meta.record_id,
        "account": meta.account,
        "role": meta.role,
        "name": meta.name,
        "type": meta.type,
        "version": meta.version,
        "created_at": rfc3339(meta.created_at),
        "destroyed": destroyed,
    }


def _cost(kdf: dict[str, Any] | None) -> str:
    if kdf is None:
        return "-"
    return f"argon2id {kdf['memory_kib'] // 1024} MiB × {kdf['iterations']}, {kdf['lanes']} lanes"
