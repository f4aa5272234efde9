"""A crash at every write point of vault, keys, backup, audit log and configuration: old or new, never neither."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fortctl.config.file import AccountConfig, Config, load_config, save_config
from fortctl.config.home import Home
from fortctl.errors import FortctlError, NotFoundError, VaultDamagedError
from fortctl.ports import NewRecord
from fortctl.secret import Secret
from fortctl.services.site_vault import audited
from fortctl.store.audit_log import AuditLogFile
from fortctl.system.files import write_private
from fortctl.vault import erasure
from fortctl.vault.backup import read_backup
from fortctl.vault.file import OpenVault, VaultFile
from fortctl.vault.slots import FLOOR, KeyFile
from support.crashing import HOW, Killed, fated

AUDIT_KEY = Secret(b"a" * 32)


class World:
    """A home with a vault of two records, an audit log that tells of it, a configuration and a backup."""

    def __init__(self, path: Path) -> None:
        self.home = Home(path)
        self.file = VaultFile(self.home.vault, self.home.erasure)
        self.audit = AuditLogFile(self.home.audit)
        self.audit.seal_with(AUDIT_KEY)

    @classmethod
    def made(cls, path: Path) -> World:
        path.mkdir(mode=0o700)
        world = cls(path)
        vault = world.file.create([KeyFile(world.home.keyfile)])
        vault.update([site_key("old"), plain("kept")], audit=world.heard("home made"))
        write_private(world.home.path / "backup", vault.backup("", 1))
        vault.update([site_key("older")], audit=world.heard("key changed"))
        vault.update([site_key("old")], audit=world.heard("key changed"))
        save_config(world.home, Config("keyfile", {"default": AccountConfig("default", "paper")}))
        return world

    def heard(self, what: str) -> Callable[[str, int], None]:
        return audited(self.audit, what, "default", {})

    def opened(self) -> OpenVault:
        return self.file.unlock([KeyFile(self.home.keyfile)])

    def key(self) -> str | None:
        try:
            return self.opened().get("key/default/site").reveal()
        except NotFoundError:
            return None

    def slots(self) -> int:
        return len(self.file.header().slots)


def record(record_id: str, text: str, erasable: bool) -> NewRecord:
    return NewRecord(
        record_id, "default", "paper", "site", "n", "hmac", Secret(text), erasable, 1, "site" if erasable else ""
    )


def site_key(text: str) -> NewRecord:
    return record("key/default/site", text, True)


def plain(text: str) -> NewRecord:
    return record("plain", text, False)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies leaves what it wrote in the kernel: the disk's own time is not needed here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@dataclass(frozen=True)
class Case:
    """An operation, and what may be seen after it was cut short: the old state, or the new one."""

    act: Callable[[World], object]
    see: Callable[[World], object]
    old: object
    new: object
    # A state on the way that is a promise of its own: a key that was to be destroyed is gone already.
    between: object = "nothing"


def changed(world: World) -> None:
    world.opened().update([site_key("new")], audit=world.heard("key changed"))


def deleted(world: World) -> None:
    world.opened().update(delete=["key/default/site"], audit=world.heard("key deleted"))


def restored(world: World) -> None:
    world.file.restore(
        read_backup((world.home.path / "backup").read_bytes()), [KeyFile(world.home.keyfile)], older=True, above=9
    )


def slot_added(world: World) -> None:
    world.opened().add_slot(KeyFile(world.home.path / "another.key"), FLOOR, audit=world.heard("slot"))


def slot_removed(world: World) -> None:
    vault = world.opened()
    vault.remove_slot(vault._document.slots[0].id, audit=world.heard("slot"))


def two_slots(world: World) -> list[str]:
    return sorted(slot.hint for slot in world.file.header().slots)


def backed_up(world: World) -> None:
    write_private(world.home.path / "second", world.opened().backup("", 2))


def backup_whole(world: World) -> bool:
    path = world.home.path / "second"
    return path.exists() and read_backup(path.read_bytes()).made_at == 2


def configured(world: World) -> None:
    config = load_config(world.home)
    save_config(world.home, config.with_account(AccountConfig("second", "paper")))


def accounts(world: World) -> list[str]:
    return sorted(load_config(world.home).accounts)


def noted(world: World) -> None:
    world.audit.append("noted", account="default", result="done")


def last_noted(world: World) -> bool:
    return any(entry["what"] == "noted" for entry in whole_lines(world.home.audit))


def whole_lines(path: Path) -> list[dict[str, object]]:
    import json

    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def destroyed(world: World) -> None:
    erasure.destroy(world.home.erasure, "default")


CASES = {
    "a key changed": Case(changed, World.key, "old", "new"),
    "a key deleted": Case(deleted, World.key, "old", None),
    "keys destroyed without unlocking": Case(destroyed, World.key, "old", None),
    "a slot added": Case(slot_added, World.slots, 1, 2),
    "a backup restored": Case(restored, World.key, "old", "old"),
    "a backup written": Case(backed_up, backup_whole, False, True),
    "the configuration written": Case(configured, accounts, ["default"], ["default", "second"]),
    "the audit log continued": Case(noted, last_noted, False, True),
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", CASES)
def test_old_or_new_never_neither(tmp_path: Path, name: str, how: str) -> None:
    case = CASES[name]
    World.made(tmp_path / "made")
    seen, number = [], 0
    while True:
        number += 1
        assert number < 200
        path = tmp_path / str(number)
        shutil.copytree(tmp_path / "made", path)
        world, ended = World(path), None
        with fated(number, how) as fate:
            try:
                case.act(world)
            except (Killed, FortctlError, OSError) as error:
                ended = error
        # Another process comes along.
        after = World(path)
        state = case.see(after)
        assert state in (case.old, case.new), f"call {number}"
        if not fate.struck:
            assert ended is None and state == case.new
            break
        seen.append(state)
        told = isinstance(ended, FortctlError | Killed) or ended is None or name == "keys destroyed without unlocking"
        assert told, f"call {number}: {ended!r} is told as it came"
        if isinstance(ended, FortctlError) and "the change is made" not in ended.message and name != "a key deleted":
            assert ended.code == "CONFLICT", ended
        # What was cut short is no obstacle: the same again, without a fault, and everything fits.
        if state == case.old:
            case.act(World(path))
            assert case.see(World(path)) == case.new
        whole = World(path)
        noted(whole)
        assert whole.audit.check().entries
        known = whole.audit.generations()
        if name != "a backup restored":
            generation = whole.opened().generation
            assert known is not None and known[1] <= generation <= max(known)
        whole.opened().update([plain("later")])
        named = {one.erasure for one in whole.opened()._document.records if one.erasure}
        assert erasure.names(whole.home.erasure) <= named, "no key is left that no record names"
        assert not [one for one in os.listdir(path) if one.endswith(".new")], "no half-written file is left"
        shutil.rmtree(path)
    assert len(seen) == number - 1 >= 3, "no crash was played"


@pytest.mark.parametrize("how", HOW)
def test_a_home_that_was_begun_can_be_made(tmp_path: Path, how: str) -> None:
    number = 0
    while True:
        number += 1
        path = tmp_path / str(number)
        path.mkdir(mode=0o700)
        file = VaultFile(path / "vault.toml", path / "erasure")
        with fated(number, how) as fate:
            try:
                file.create([KeyFile(path / "vault.key")])
            except (Killed, FortctlError) as ended:
                assert isinstance(ended, Killed) or ended.code in ("CONFLICT", "VAULT_DAMAGED"), ended
        if not file.exists():
            file.create([KeyFile(path / "vault.key")])
        assert file.unlock([KeyFile(path / "vault.key")]).generation == 1
        if not fate.struck:
            break
    assert number > 8


def test_a_disk_that_lies_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read back is not what was written: the old vault stays."""
    world = World.made(tmp_path / "home")
    real = os.write

    def lying(descriptor: int, data: bytes) -> int:
        real(descriptor, bytes(data).replace(b"fortctl-vault/1", b"fortctl-vault/2"))
        return len(data)

    monkeypatch.setattr(os, "write", lying)
    with pytest.raises(VaultDamagedError):
        changed(world)
    monkeypatch.undo()
    assert world.key() == "old"
