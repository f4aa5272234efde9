"""What a panic reads of a home before it destroys, and what it says of that which it could not read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fortctl.bootstrap.deadline import ImpatientPrompts
from fortctl.bootstrap.emergency import EmergencyReader, destroy_copies
from fortctl.bootstrap.emergency_config import EmergencyConfig
from fortctl.bootstrap.emergency_vaults import EmergencyVaults
from fortctl.bootstrap.panic import panic_ports
from fortctl.bootstrap.unlock import UnlockSources
from fortctl.config.home import Home
from fortctl.errors import FortctlError
from fortctl.keys.fingerprint import fingerprint
from fortctl.mailbox.sqlite import SqliteMailbox
from fortctl.model import KeyVerdict
from fortctl.ports import MailboxRow, NewRecord
from fortctl.robot.storage.latch import LatchFile
from fortctl.secret import Secret
from fortctl.services.panic.known_key import KeysRead
from fortctl.services.panic.read_keys import read_all_keys
from fortctl.services.site_vault import FINGERPRINT_KEY, SiteVault
from fortctl.store.audit_log import AuditLogFile
from fortctl.terminal.global_options import Globals
from fortctl.vault import erasure
from fortctl.vault.file import VaultFile
from fortctl.vault.slots import KeyFile
from support.clock import FakeClock
from support.panic_bench import Bench, Reader, step, told

SENT_MS = 1_700_000_000_000
BODY: dict[str, Any] = {
    "name": "site-1",
    "type": "hmac",
    "api_key": "K" * 64,
    "secret": "S" * 64,
    "added_at": 1,
    "verified_at": 1,
    "rejected_since": None,
    "uid": 1,
    "restrictions": None,
    "allow": [],
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with vaults that open by themselves, and a site key."""
    one = Home(tmp_path / "home")
    for place in (one, one.robot("default")):
        place.path.mkdir(mode=0o700, parents=True)
        vault = VaultFile(place.vault, place.erasure).create([KeyFile(place.keyfile)])
        if place is one:
            key = NewRecord(
                *("key/default/site", "default", "paper", "site", "site-1", "hmac"), Secret(json.dumps(BODY)),
                erasable=True, created_at=1, purpose="site",
            )  # fmt: skip
            vault.update([key])
    return one


def emergency(home: Home) -> EmergencyReader:
    config = EmergencyConfig(home, "default")
    sources = UnlockSources(ImpatientPrompts(), Globals(home.path), lambda code, message: None)
    vaults = EmergencyVaults(home, "default", sources)
    return EmergencyReader(home, "default", config, vaults, LatchFile(home.robot("default").path))


async def test_a_vault_that_opens_by_itself_yields_the_key_and_its_fingerprint(home: Home) -> None:
    vault = VaultFile(home.vault, home.erasure).unlock([KeyFile(home.keyfile)])
    vault.update([NewRecord(FINGERPRINT_KEY, "", "", "", "", "", Secret("F" * 32), erasable=False, created_at=1)])
    (key,) = (await read_all_keys(emergency(home))).read.keys
    assert key.pair is not None and key.pair.api_key == Secret("K" * 64)
    assert (key.role, key.name, key.tail) == ("site", "site-1", "KKKK")
    assert key.fingerprint == fingerprint(key.pair.api_key, b"F" * 32)


@pytest.mark.parametrize("where", ["site", "robot"])
async def test_a_copy_that_no_record_names_is_told_before_it_is_destroyed(home: Home, where: str) -> None:
    """Its writer died between the erasure key and the vault; a panic that is killed after destroying knows it still."""
    place = home if where == "site" else home.robot("default")
    VaultFile(home.vault, home.erasure).unlock([KeyFile(home.keyfile)]).update(delete=["key/default/site"])
    assert (await read_all_keys(emergency(home))).read.unknown == set()
    erasure.make(place.erasure, "default", "key")
    erasure.make(place.erasure, "another", "key")
    erasure.make(place.erasure, "default", "recipient")
    bench = Bench(place.path, keys=(await read_all_keys(emergency(home))).read)
    assert set(bench.keys.unknown) == {where}

    noted: list[object] = []

    def destroy() -> tuple[str, ...]:
        noted.append(bench.latch.read()["unknown"])
        return ()

    bench.changes["destroy"] = destroy
    await bench.panic()
    assert noted[0] == [where]


def delivery(number: int) -> MailboxRow:
    envelope = json.dumps({"kind": "deliver-key", "created_at": SENT_MS}).encode()
    return MailboxRow("default", number, envelope, b"sealed", b"signature")


class LockedAtFirst(Reader):
    """A home without a key, whose mailbox cannot be read the first time."""

    def __init__(self, deliveries: Callable[[], Sequence[str]]) -> None:
        super().__init__(KeysRead())
        self._reads = iter([self._locked])
        self._deliveries = deliveries

    def deliveries(self) -> Sequence[str]:
        return next(self._reads, self._deliveries)()

    def _locked(self) -> Sequence[str]:
        raise FortctlError("the mailbox is locked")


async def test_a_mailbox_that_was_locked_while_it_was_read_hides_no_delivery(home: Home) -> None:
    """It is read again before it is emptied."""
    with closing(SqliteMailbox(home.mailbox)) as mailbox:
        mailbox.append(delivery(1))
        one = emergency(home)
        bench = Bench(home.robot("default").path, keys=KeysRead())
        bench.destroyed = ()
        bench.changes = {
            "keys": LockedAtFirst(one.deliveries),
            "empty_mailbox": panic_ports(Globals(home.path), "default").empty_mailbox,
        }
        report = await bench.panic()
        assert told(report) == [("robot", "")] and mailbox.pending("default") == ()
        assert "2023-11-14T22:13:20" in report.actions[0].text
        bench.changes["keys"] = one
        assert ("robot", "") in told(await bench.panic()), "said again"


async def test_a_mailbox_that_stays_locked_is_not_taken_for_an_empty_one(home: Home) -> None:
    SqliteMailbox(home.mailbox).close()
    with closing(sqlite3.connect(home.mailbox, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        one = emergency(home)
        with pytest.raises(FortctlError):
            one.deliveries()
        bench = Bench(home.robot("default").path, keys=KeysRead())
        bench.destroyed = ()
        bench.changes = {
            "keys": LockedAtFirst(one.deliveries),
            "empty_mailbox": panic_ports(Globals(home.path), "default").empty_mailbox,
        }
        report = await bench.panic()
    assert step(report, "empty mailbox").state == "failed"
    (action,) = report.actions
    assert action.step == "empty mailbox" and "whether a key was on its way" in action.text


async def test_a_mailbox_that_can_be_read_and_not_emptied_hides_nothing(tmp_path: Path) -> None:
    """What lies in it is sealed to a key that is destroyed."""

    def read_only() -> None:
        raise OSError(30, "Read-only file system")

    bench = Bench(tmp_path / "robot", keys=KeysRead(), changes={"empty_mailbox": read_only})
    bench.destroyed = ()
    report = await bench.panic()
    assert step(report, "empty mailbox").state == "failed" and report.actions == ()


async def test_what_nothing_names_is_not_proved_dead(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", keys=KeysRead(unknown=("site",)), queued=("2026-01-01T00:00:00Z",))
    report = await bench.made(wait_dead_s=1.0).run()
    waited = step(report, "wait dead")
    assert waited.state == "unproved"
    assert "the site key, which nothing names" in waited.detail and "sent at 2026-01-01" in waited.detail


def test_a_verdict_that_comes_after_a_panic_brings_no_copy_back(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copies are destroyed between reading the key and writing down what the exchange says of it."""
    vault = VaultFile(home.vault, home.erasure).unlock([KeyFile(home.keyfile)])
    audit = AuditLogFile(home.audit)
    custody = SiteVault("default", "paper", vault, audit, FakeClock())
    vault.update([NewRecord(FINGERPRINT_KEY, "", "", "", "", "", Secret("F" * 32), erasable=False, created_at=1)])
    custody.record_verdict(KeyVerdict(True, "ok"))
    assert custody.site_key() is not None and len(erasure.names(home.erasure)) == 1
    made = custody._key_record

    def panic(*facts: Any) -> NewRecord:
        assert destroy_copies(home, "default")
        return made(*facts)

    monkeypatch.setattr(custody, "_key_record", panic)
    custody.record_verdict(KeyVerdict(True, "ok"))
    assert custody.site_key() is None and erasure.names(home.erasure) == set()
