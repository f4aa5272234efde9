"""The vault: what a thief, a vandal and a crash cannot do."""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
import os
import random
import stat
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from fortctl.errors import ConfigError, ConflictError, FortctlError, NotFoundError, VaultDamagedError, VaultLockedError
from fortctl.ports import NewRecord
from fortctl.secret import Secret
from fortctl.vault import erasure
from fortctl.vault.file import OpenVault, VaultFile, unlock_document
from fortctl.vault.format import decode, encode
from fortctl.vault.slots import CEILING, FLOOR, KdfCost, KeyFile, Passphrase, calibrate, stretch
from support.harness import REPOSITORY


def record(record_id: str, text: str, *, erasable: bool = False) -> NewRecord:
    return NewRecord(record_id, "default", "paper", "site", 'a "name"\n', "hmac", Secret(text), erasable, 123, "site")


@pytest.fixture
def file(tmp_path: Path) -> VaultFile:
    tmp_path.chmod(0o700)
    return VaultFile(tmp_path / "vault.toml", tmp_path / "erasure")


@pytest.fixture
def vault(file: VaultFile) -> OpenVault:
    made = file.create([KeyFile(file.path.with_name("vault.key"))])
    made.update([record("plain", "kept"), record("key/default/site", "the secret", erasable=True)])
    return made


def reopened(file: VaultFile) -> OpenVault:
    return file.unlock([KeyFile(file.path.with_name("vault.key"))])


def test_what_was_put_comes_back(file: VaultFile, vault: OpenVault) -> None:
    again = reopened(file)
    assert again.get("plain").reveal() == "kept"
    assert again.get("key/default/site").reveal() == "the secret"
    assert again.generation == 2


def test_it_is_toml_with_nothing_in_clear(file: VaultFile, vault: OpenVault) -> None:
    text = file.path.read_text()
    assert tomllib.loads(text)["format"] == "fortctl-vault/1"
    assert "the secret" not in text and "kept" not in text
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in file.erasure_root.rglob("*") if path.is_file()} == {0o600}
    assert stat.S_IMODE(file.erasure_root.stat().st_mode) == 0o700


def test_every_single_bit_flip_is_refused(file: VaultFile) -> None:
    """Each bit of a small vault: as it is, and by somebody who knows the format and writes the closing hash anew."""
    file.create([KeyFile(file.path.with_name("vault.key"))]).update(
        [record("key/default/site", "secret", erasable=True)]
    )
    source = KeyFile(file.path.with_name("vault.key"))
    good = file.path.read_bytes()
    head = good[: good.rindex(b"sha256 = ")]
    for at, bit in ((at, bit) for at in range(len(good)) for bit in range(8)):
        bad = bytearray(good)
        bad[at] ^= 1 << bit
        with pytest.raises(VaultDamagedError):
            decode(bytes(bad))
        if at < len(head):
            closed = f'sha256 = "{hashlib.sha256(bad[: len(head)]).hexdigest()}"\n'.encode()
            with pytest.raises((VaultDamagedError, VaultLockedError)):
                unlock_document(decode(bytes(bad[: len(head)]) + closed), [source])
    assert unlock_document(decode(good), [source])


SAMPLES = int(os.environ.get("FORTCTL_FLIPS", "200"))


def test_bit_flips_of_a_passphrase_slot_are_refused(file: VaultFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slot's own lines, with the closing hash made right: 200 sampled (``make nightly``: all of them)."""
    # The same passphrase, salt and cost give the same key: it is computed once.
    once = functools.cache(lambda salt, cost: stretch(Secret("a passphrase"), salt, cost))
    monkeypatch.setattr("fortctl.vault.envelope.stretch", lambda _secret, salt, cost: once(salt, cost))
    source = Passphrase(Secret("a passphrase"))
    file.create([source])
    good = file.path.read_bytes()
    head = good[: good.rindex(b"sha256 = ")]
    start, end = head.index(b"[[slot]]"), head.index(b"[seal]")
    flips = [(at, bit) for at in range(start, end) for bit in range(8)]
    for at, bit in random.Random(1).sample(flips, min(SAMPLES, len(flips))):
        bad = bytearray(head)
        bad[at] ^= 1 << bit
        file.path.write_bytes(bytes(bad) + f'sha256 = "{hashlib.sha256(bad).hexdigest()}"\n'.encode())
        with pytest.raises((VaultDamagedError, VaultLockedError)):
            file.unlock([source])


@pytest.mark.parametrize("part", ["slots", "records", "vault_id", "generation", "tag"])
def test_parts_swapped_between_vaults_and_generations_are_refused(
    file: VaultFile, vault: OpenVault, tmp_path: Path, part: str
) -> None:
    (tmp_path / "other").mkdir(mode=0o700)
    other = VaultFile(tmp_path / "other" / "vault.toml", file.erasure_root)
    other.create([KeyFile(file.path.with_name("vault.key"))]).update([record("plain", "other")])
    older = decode(file.path.read_bytes())
    vault.update([record("plain", "later")])
    good = decode(file.path.read_bytes())
    for source in (decode(other.path.read_bytes()), older):
        if getattr(source, part) == getattr(good, part):
            continue
        file.path.write_bytes(encode(good._replace(**{part: getattr(source, part)})))
        with pytest.raises((VaultDamagedError, VaultLockedError)):
            reopened(file)


@pytest.mark.parametrize("field", ["id", "kind", "hint", "salt", "nonce", "wrapped"])
def test_every_field_swapped_between_two_slots_is_refused(file: VaultFile, vault: OpenVault, field: str) -> None:
    vault.add_slot(Passphrase(Secret("a passphrase")), FLOOR)
    document = decode(file.path.read_bytes())
    first, second = document.slots
    swapped = (first._replace(**{field: getattr(second, field)}), second._replace(**{field: getattr(first, field)}))
    file.path.write_bytes(encode(document._replace(slots=swapped)))
    for source in (KeyFile(file.path.with_name("vault.key")), Passphrase(Secret("a passphrase"))):
        with pytest.raises((VaultDamagedError, VaultLockedError)):
            file.unlock([source])


@pytest.mark.parametrize(
    "field", ["id", "account", "exchange", "role", "name", "type", "version", "created", "erasure"]
)
def test_every_field_swapped_between_two_records_is_refused(file: VaultFile, vault: OpenVault, field: str) -> None:
    vault.update([replace(record("other", "x"), account="b", exchange="live", role="robot", name="n", type="rsa")])
    vault.update(
        [replace(record("other", "y"), account="b", exchange="live", role="robot", name="n", type="rsa", created_at=9)]
    )
    document = decode(file.path.read_bytes())
    first, second = document.records[0], document.records[1]
    assert getattr(first, field) != getattr(second, field)
    swapped = [
        first._replace(**{field: getattr(second, field)}),
        second._replace(**{field: getattr(first, field)}),
        *document.records[2:],
    ]
    file.path.write_bytes(encode(document._replace(records=tuple(swapped))))
    with pytest.raises(VaultDamagedError):
        reopened(file)


def test_a_record_cut_out_is_noticed(file: VaultFile, vault: OpenVault) -> None:
    document = decode(file.path.read_bytes())
    file.path.write_bytes(encode(document._replace(records=document.records[1:])))
    with pytest.raises(VaultDamagedError):
        reopened(file)


def test_an_erasure_key_destroys_its_record_without_unlocking(file: VaultFile, vault: OpenVault) -> None:
    assert erasure.destroy(file.erasure_root, "default") != ()
    assert erasure.destroy(file.erasure_root, "default") == ()
    with pytest.raises(NotFoundError):
        reopened(file).get("key/default/site")
    assert reopened(file).get("plain").reveal() == "kept"


def test_zeros_read_as_destroyed(file: VaultFile, vault: OpenVault) -> None:
    (path,) = (path for path in file.erasure_root.rglob("*") if path.is_file())
    path.write_bytes(bytes(32))
    with pytest.raises(NotFoundError):
        reopened(file).get("key/default/site")


def test_a_deleted_key_cannot_come_back_from_an_older_file(file: VaultFile, vault: OpenVault) -> None:
    older = file.path.read_bytes()
    vault.update(delete=["key/default/site"])
    file.path.write_bytes(older)
    with pytest.raises(NotFoundError):
        reopened(file).get("key/default/site")


def test_a_replaced_key_leaves_no_erasure_key_behind(file: VaultFile, vault: OpenVault) -> None:
    vault.update([record("key/default/site", "another", erasable=True)])
    assert len([path for path in file.erasure_root.rglob("*") if path.is_file()]) == 1
    assert reopened(file).get("key/default/site").reveal() == "another"


def test_going_back_while_open_is_noticed(file: VaultFile, vault: OpenVault) -> None:
    older = file.path.read_bytes()
    vault.update([record("plain", "newer")])
    file.path.write_bytes(older)
    with pytest.raises(VaultDamagedError, match="put back"):
        vault.update([record("plain", "newest")])


def test_others_may_not_read_it(file: VaultFile, vault: OpenVault) -> None:
    file.path.chmod(0o644)
    with pytest.raises(ConfigError):
        reopened(file)


def test_a_second_vault_is_never_made_over_the_first(file: VaultFile, vault: OpenVault) -> None:
    with pytest.raises(ConflictError):
        file.create([KeyFile(file.path.with_name("vault.key"))])


def test_the_lock_names_its_holder(file: VaultFile, vault: OpenVault) -> None:
    waiting = VaultFile(file.path, file.erasure_root, lock_timeout_s=0.05)
    with file.locked(), pytest.raises(ConflictError) as caught, waiting.locked():
        raise AssertionError("unreachable")
    assert caught.value.details["holder_pid"] == str(os.getpid())


def test_passphrase_slot(file: VaultFile) -> None:
    made = file.create([Passphrase(Secret("correct horse"))])
    made.update([record("plain", "kept")])
    assert file.unlock([Passphrase(Secret("correct horse"))]).get("plain").reveal() == "kept"
    with pytest.raises(VaultLockedError):
        file.unlock([Passphrase(Secret("wrong"))])


@pytest.mark.parametrize(
    "cost", [KdfCost(1024, 3, 4), KdfCost(2**30, 3, 4), KdfCost(65536, 1, 4), KdfCost(65536, 99, 4)]
)
def test_an_absurd_cost_is_refused_before_it_is_paid(cost: KdfCost) -> None:
    with pytest.raises(VaultDamagedError):
        stretch(Secret("x"), bytes(16), cost)


@pytest.mark.parametrize(
    ("pass_takes", "passes"), [(0.0, CEILING.iterations), (0.01, 25), (0.05, 5), (0.1, FLOOR.iterations), (9.0, 3)]
)
def test_calibration_has_a_floor_and_a_ceiling(monkeypatch: pytest.MonkeyPatch, pass_takes: float, passes: int) -> None:
    now = [0.0]

    def computed(_secret: Secret, _salt: bytes, cost: KdfCost) -> bytes:
        now[0] += pass_takes * cost.iterations
        return b""

    monkeypatch.setattr("fortctl.vault.slots.stretch", computed)
    assert calibrate(0.25 + 1e-9, lambda: now[0]) == KdfCost(FLOOR.memory_kib, passes, FLOOR.lanes)


def test_argon2id_is_rfc_9106s() -> None:
    """The library gives RFC 9106's own vector (section 5.3), and our path is the library at our cost."""
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    vector = Argon2id(
        salt=b"\x02" * 16, length=32, iterations=3, lanes=4, memory_cost=32, ad=b"\x04" * 12, secret=b"\x03" * 8
    ).derive(b"\x01" * 32)
    assert vector.hex() == "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
    ours = Argon2id(salt=b"s" * 16, length=32, iterations=3, lanes=4, memory_cost=65536).derive(b"pass")
    assert stretch(Secret("pass"), b"s" * 16, FLOOR) == ours


def _add(path: str, name: str) -> None:
    file = VaultFile(Path(path) / "vault.toml", Path(path) / "erasure")
    opened = file.unlock([KeyFile(Path(path) / "vault.key")])
    for number in range(5):
        opened.update([record(f"{name}/{number}", "x")])


def test_two_processes_lose_nothing(file: VaultFile, vault: OpenVault) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add, args=(str(file.path.parent), name)) for name in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    names = {meta.record_id for meta in reopened(file).records()}
    assert {f"{name}/{number}" for name in ("a", "b") for number in range(5)} <= names


def test_garbage_is_damage_never_a_traceback(file: VaultFile, vault: OpenVault) -> None:
    for junk in (b"", b"\n", b"\xff" * 100, b'sha256 = ""\n', os.urandom(1000)):
        with pytest.raises(FortctlError):
            decode(junk)


FROZEN = REPOSITORY / "tests" / "vectors" / "vault-1"


def test_a_frozen_vault_still_opens() -> None:
    """A vault written by the first version opens in every later one (test keys only)."""
    frozen = VaultFile(FROZEN / "vault.toml", FROZEN / "erasure")
    (FROZEN / "vault.toml").chmod(0o600)
    (FROZEN / "vault.key").chmod(0o600)
    opened = frozen.unlock([KeyFile(FROZEN / "vault.key")])
    assert opened.get("plain").reveal() == "kept"
    assert opened.get("key/default/site").reveal() == "the secret"
    with pytest.raises(VaultLockedError):
        frozen.unlock([Passphrase(Secret("not this one"))])
    assert frozen.unlock([Passphrase(Secret("test passphrase"))]).get("plain").reveal() == "kept"
