"""The steps of a rotation as a table: every row is whole, and nothing is begun out of its turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fortctl.errors import ConflictError, VaultDamagedError
from fortctl.services.rotation.plan import (
    DONE,
    KINDS,
    PLAN,
    ROTATIONS,
    RotationMode,
    Scope,
    begin,
    from_text,
    issued_names,
    to_text,
)

ROWS = pytest.mark.parametrize(("mode", "scope"), PLAN, ids=lambda value: value.value)


def test_every_mode_and_role_has_a_row_of_known_steps() -> None:
    assert set(PLAN) >= {(mode, scope) for mode in ROTATIONS for scope in Scope}
    assert {name for row in PLAN.values() for name in row} == set(KINDS)
    for kind in KINDS.values():
        assert kind.does and kind.resumes and kind.aborts


@ROWS
def test_the_old_key_is_deleted_only_after_the_new_one_is_in_use(mode: RotationMode, scope: Scope) -> None:
    row = PLAN[mode, scope]
    if mode not in ROTATIONS:
        assert "delete" not in row
        return
    assert row[0] == "check" and row[-2:] == ("delete", "prove")
    for role, taken in (("site", "store"), ("robot", "deliver")):
        assert (taken in row) == (scope.value in (role, "both"))
    assert ("drain" in row) == ("start" in row) == (mode is RotationMode.DRAIN and scope is not Scope.SITE)


@ROWS
def test_it_goes_through_its_row_once(mode: RotationMode, scope: Scope) -> None:
    operation = begin("r1", "default", mode, scope, 1)
    for at, name in enumerate(PLAN[mode, scope], 2):
        assert operation.step == name
        with pytest.raises(ConflictError):
            operation.ended(name, at)
        with pytest.raises(ConflictError):
            operation.finished(at)
        for other in set(PLAN[mode, scope]) - {name}:
            with pytest.raises(ConflictError):
                operation.begun(other, at)
        operation = operation.begun(name, at, seen=name).ended(name, at)
        assert operation.facts["seen"] == name
    assert operation.step == DONE and operation.finished(99).as_json()["state"] == "done"
    with pytest.raises(ConflictError):
        operation.finished(99).noted(100)


@given(st.sampled_from(sorted(PLAN)), st.integers(0, 10), st.booleans())
def test_it_survives_the_store(row: tuple[RotationMode, Scope], steps: int, doing: bool) -> None:
    operation = begin("r1", "default", *row, 1, issue={"robot": {"names": ["a", "b"]}})
    for name in PLAN[row][:steps]:
        operation = operation.begun(name, 5).ended(name, 6)
    if doing and operation.step in KINDS:
        operation = operation.begun(operation.step, 7)
    again = from_text("r1", "default", operation.state, to_text(operation), 1, operation.updated_at)
    assert again == operation and issued_names(again) == ("a", "b")


def test_what_nobody_wrote_is_damage() -> None:
    for body in ("", "{}", "[]", '{"mode": "drain", "scope": "moon", "steps": [], "facts": {}, "reason": ""}'):
        with pytest.raises(VaultDamagedError):
            from_text("r1", "default", "open", body, 1, 1)
