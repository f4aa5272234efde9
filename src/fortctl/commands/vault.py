"""``fortctl vault``: what unlocks the vaults of this home, and their backups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.render import table
from fortctl.cli.result import Result
from fortctl.errors import ConflictError
from fortctl.timestamps import age_days, rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fortctl.ports import RecordMeta
    from fortctl.vault.slots import KdfCost

vault = group("vault", "Manage what unlocks the vaults, and back them up.")
slot = vault.subgroup("slot", "Manage the ways to unlock a vault.")
VaultChoice = Literal["site", "robot"]
WHOSE = click.option(
    "--of", "whose", type=click.Choice(["site", "robot"]), default="site", show_default=True, help="Vault to use."
)
NEW_PASSPHRASE = click.option(
    "--new-passphrase-file", metavar="FILE", help="Read the new passphrase from FILE ('-': stdin); else prompt."
)


@vault.command("status", help="Show a vault's slots, generation and records, without unlocking it.")
@WHOSE
def status(context: CommandContext, whose: VaultChoice) -> Result:
    from fortctl.bootstrap.vaults import home_vault
    from fortctl.services.vault import slot_as_json

    chosen = home_vault(context.container, whose)
    header, locked_by, now = chosen.file.header(), chosen.file.holder(), context.container.clock.now_ms()
    data = {
        "path": str(chosen.file.path),
        "vault_id": header.vault_id,
        "generation": header.generation,
        "written_at": rfc3339(header.written_at),
        "age_days": age_days(header.written_at, now),
        "locked_by": locked_by,
        "keyfile_beside": chosen.keyfile.exists(),
        "slots": [slot_as_json(slot) for slot in header.slots],
        "records": [_record_row(meta, meta.record_id in header.destroyed) for meta in header.records],
    }

    def text() -> str:
        slots = [[slot.id, slot.kind, slot.hint, _cost(slot.cost)] for slot in header.slots]
        records = [
            [
                *(meta.record_id, meta.role, meta.name, meta.type, meta.version, rfc3339(meta.created_at)),
                meta.record_id in header.destroyed,
            ]
            for meta in header.records
        ]
        locked = f", being written by pid {locked_by}" if locked_by else ""
        written = f"generation {header.generation}, written {rfc3339(header.written_at)}{locked}"
        return "\n\n".join(
            [
                f"vault {header.vault_id} at {chosen.file.path}: {written}",
                table(["slot", "kind", "hint", "cost"], slots),
                table(["id", "role", "name", "type", "version", "created at", "destroyed"], records),
            ]
        )

    return Result(data, text=text)


@vault.command("change-passphrase", help="Replace the passphrase. Records are not encrypted again.")
@WHOSE
@NEW_PASSPHRASE
def change_passphrase(context: CommandContext, whose: VaultChoice, new_passphrase_file: str | None) -> Result:
    from fortctl.bootstrap.vaults import home_vault
    from fortctl.services.vault import slot_as_json

    chosen = home_vault(context.container, whose)
    if all(slot.kind != "passphrase" for slot in chosen.file.header().slots):
        raise ConflictError("this vault has no passphrase", hint="'fortctl vault slot add passphrase' adds one")
    opened = chosen.unlock()
    source = context.container.unlock_sources.new(whose, "passphrase", chosen.keyfile, new_passphrase_file)
    row = slot_as_json(chosen.service.change_passphrase(opened, source))  # type: ignore[arg-type]
    warning = ("OLD_BACKUPS", "backups made before still open with the old passphrase: delete them")
    return Result({"slot": row}, True, (warning,), f"passphrase of the {whose} vault changed (slot {row['id']})")


@slot.command("add", help="Add a way to unlock a vault.")
@click.argument("kind", type=click.Choice(["passphrase", "keyfile", "keyring"]))
@WHOSE
@NEW_PASSPHRASE
def add(context: CommandContext, kind: str, whose: VaultChoice, new_passphrase_file: str | None) -> Result:
    from fortctl.bootstrap.vaults import home_vault
    from fortctl.services.vault import KEYFILE_BESIDE, slot_as_json

    chosen = home_vault(context.container, whose)
    opened = chosen.unlock()
    source = context.container.unlock_sources.new(whose, kind, chosen.keyfile, new_passphrase_file)
    row = slot_as_json(chosen.service.add_slot(opened, source, kind))
    warnings = (KEYFILE_BESIDE,) if kind == "keyfile" else ()
    return Result({"slot": row}, True, warnings, f"slot {row['id']} ({kind}) added to the {whose} vault")


@slot.command("remove", help="Remove a way to unlock a vault, unless it is the last one.")
@click.argument("slot_id", metavar="ID")
@WHOSE
def remove(context: CommandContext, slot_id: str, whose: VaultChoice) -> Result:
    from fortctl.bootstrap.vaults import home_vault, os_keyring
    from fortctl.services.vault import slot_as_json

    chosen = home_vault(context.container, whose)
    context.prompts.confirm(f"Remove slot {slot_id} of the {whose} vault?")
    removed = chosen.service.remove_slot(chosen.unlock(), slot_id, os_keyring())
    warnings = []
    left = chosen.file.header().slots
    if removed.kind == "keyfile" and chosen.keyfile.exists() and all(slot.kind != "keyfile" for slot in left):
        warnings.append(("KEYFILE_LEFT", f"the key file {chosen.keyfile} still opens older copies of the vault"))
    return Result(
        {"slot": slot_as_json(removed)}, True, tuple(warnings), f"slot {slot_id} removed from the {whose} vault"
    )


@vault.command("backup", help="Back up the site vault and its erasure keys to a file. Key files are not included.")
@click.option("--output", "-o", "target", metavar="FILE", required=True, help="File to create.")
def backup(context: CommandContext, target: str) -> Result:
    from fortctl.bootstrap.vaults import back_up

    context.container.require_account()
    path = Path(target).expanduser().absolute()
    opened = back_up(context.container, path)
    data = {"path": str(path), "generation": opened.generation, "records": len(opened.records())}
    warning = (
        "BACKUP_LIVES",
        "a key that is deleted later still exists in this backup; anybody who unlocks it can use that key",
    )
    return Result(data, True, (warning,), f"vault of generation {opened.generation} written to {path}")


@vault.command("restore", help="Replace the site vault by a backup.")
@click.argument("source", metavar="FILE")
@click.option("--older", is_flag=True, help="Also replace a vault of a later generation.")
def restore(context: CommandContext, source: str, older: bool) -> Result:
    from fortctl.bootstrap import vaults

    context.container.home.ensure()
    data = context.prompts.read_input(source)
    kinds = vaults.backup_slot_kinds(data)
    context.prompts.confirm("Replace the site vault by the backup?")
    generation, revived = vaults.restore(context.container, data, kinds, older=older)
    rows = [{"id": meta.record_id, "account": meta.account, "role": meta.role, "name": meta.name} for meta in revived]
    lines = [f"vault restored as generation {generation}; {len(revived)} records exist again"]
    lines += [f"  {meta.record_id} {meta.name}" for meta in revived]
    _warn_of_latches(context, revived)
    return Result({"generation": generation, "comes_back": rows}, True, text="\n".join(lines))


def _warn_of_latches(context: CommandContext, revived: Sequence[RecordMeta]) -> None:
    """Warn that a latch stays, and that keys that a panic destroyed exist again. A backup neither sets nor lifts it."""
    from fortctl.bootstrap.vaults import is_latched

    for account in sorted({meta.account for meta in revived if meta.account} | {context.globals.account}):
        if is_latched(context.container, account):
            names = ", ".join(f"'{meta.name}'" for meta in revived if meta.account == account and meta.role)
            again = f"; keys that the panic destroyed exist here again: {names}" if names else ""
            context.warn("LATCHED", f"account {account} stays latched after its panic{again}")


@vault.command("accept", help="Accept the site vault as it is although the audit log records another generation.")
@click.option("--confirm", metavar="GENERATION", help="Confirm by repeating the vault's generation.")
@click.option("--above", metavar="N", type=click.IntRange(0), default=0, help="Write it with a generation above N.")
def accept(context: CommandContext, confirm: str | None, above: int) -> Result:
    container = context.container
    container.require_account()
    container.accept_any_generation = True
    present = container.vault_file.header().generation
    context.prompts.confirm_typed(str(present), confirm, f"The vault is at generation {present}. Accept it?")
    opened = container.open_vault
    if opened.generation != present:
        raise ConflictError("another command changed the vault meanwhile", hint="run it again: nothing was accepted")
    generation = container.vault_service.accept(opened, above)
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


def _cost(cost: KdfCost | None) -> str:
    if cost is None:
        return "-"
    return f"argon2id {cost.memory_kib // 1024} MiB × {cost.iterations}, {cost.lanes} lanes"
