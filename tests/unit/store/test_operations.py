"""The journal of long operations: one open an account, one owner, a dead owner's lock taken over, panic first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fortctl.errors import ConflictError
from fortctl.ports import OperationOwner, OperationRow
from fortctl.services.rotation.plan import ABORTED, RotationMode, Scope, begin, from_row, to_row
from fortctl.store.operations import SqliteOperations

ME = OperationOwner(10, "here", "t1", "rotation r1", 1_000, 1_000)
OTHER = OperationOwner(11, "here", "t2", "rotation r2", 2_000, 2_000)


def row(name: str = "r1", state: str = "open") -> OperationRow:
    body = to_row(begin(name, "default", RotationMode.DRAIN, Scope.BOTH, 1)).body
    return OperationRow(name, "default", "rotation", state, body, 1, 2)


@pytest.fixture
def store(tmp_path: Path) -> SqliteOperations:
    return SqliteOperations(tmp_path / "operations.sqlite")


def test_one_operation_an_account_is_open_and_only_its_owner_writes(store: SqliteOperations) -> None:
    with pytest.raises(ConflictError):
        store.put(row(), ME)
    assert store.acquire("default", ME, lambda _: True) is None
    store.put(row(), ME)
    assert store.current("default") == row() and store.current("other") is None
    with pytest.raises(ConflictError, match="open"):
        store.put(row("r2"), ME)
    store.put(row(state="done"), ME)
    assert store.current("default") is None and store.last("default") == row(state="done")
    with pytest.raises(ConflictError, match="over"):
        store.put(row(), ME)
    store.put(row("r2"), ME)
    last = store.last("default")
    assert last is not None and last.id == "r2"


def test_the_second_is_told_who_the_first_is(store: SqliteOperations) -> None:
    store.acquire("default", ME, lambda _: True)
    with pytest.raises(ConflictError) as refused:
        store.acquire("default", OTHER, lambda _: True)
    owner = refused.value.details["owner"]
    assert (owner["pid"], owner["host"], owner["what"], owner["age_s"]) == (10, "here", "rotation r1", 1)
    assert refused.value.details["operation_id"] is None
    store.put(row("r7"), ME)
    with pytest.raises(ConflictError, match="rotation r7, pid 10") as named:
        store.acquire("default", OTHER, lambda _: True)
    assert named.value.details["operation_id"] == "r7"
    assert store.acquire("default", replace(ME, acquired_at=5_000), lambda _: True) is None, (
        "its own lock is no obstacle"
    )


def test_a_dead_owners_lock_is_taken_over_and_the_dead_write_nothing(store: SqliteOperations, tmp_path: Path) -> None:
    store.acquire("default", ME, lambda _: True)
    store.put(row(), ME)
    second = SqliteOperations(tmp_path / "operations.sqlite")
    was = second.acquire("default", OTHER, lambda owner: owner.pid != 10)
    assert was is not None and was.pid == 10
    for write in (lambda: store.put(row(), ME), lambda: store.renew("default", ME, 9)):
        with pytest.raises(ConflictError) as refused:
            write()
        assert refused.value.details["reason"] == "preempted"
    store.release("default", ME)
    second.renew("default", OTHER, 9_000)
    owner = store.owner("default")
    assert owner is not None and (owner.pid, owner.renewed_at) == (11, 9_000)
    second.release("default", OTHER)
    assert store.owner("default") is None


def test_panic_closes_it_whoever_works_on_it(store: SqliteOperations, tmp_path: Path) -> None:
    store.acquire("default", ME, lambda _: True)
    store.put(row(), ME)
    panic = SqliteOperations(tmp_path / "operations.sqlite")
    assert panic.abort_for_panic("default", 77) == row()
    assert panic.abort_for_panic("default", 78) is None
    with pytest.raises(ConflictError):
        store.put(row(), ME)
    found = store.last("default")
    assert found is not None and (found.state, found.updated_at) == (ABORTED, 77)
    read = from_row(found)
    assert read.reason == "panic"
    # The one that was pre-empted takes the lock again: its operation stays closed all the same.
    store.acquire("default", ME, lambda _: True)
    with pytest.raises(ConflictError, match="over"):
        store.put(row(), ME)
