"""The steps of a rotation as a table: every row is whole, and nothing is begun out of its turn."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fortctl.errors import ConflictError, VaultDamagedError
from fortctl.model import Role
from fortctl.ports import OperationRow
from fortctl.services.rotation.facts import IssueAttempts, RotationFacts
from fortctl.services.rotation.plan import (
    DONE,
    KINDS,
    PLAN,
    ROTATIONS,
    RotationMode,
    Scope,
    begin,
    from_row,
    to_row,
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
        operation = operation.begun(name, at).ended(name, at, replace(operation.facts, left=name))
        assert operation.facts.left == name
    assert operation.step == DONE and operation.finished(99).as_json()["state"] == "done"
    with pytest.raises(ConflictError):
        operation.finished(99).noted(100, operation.facts)


@given(st.sampled_from(sorted(PLAN)), st.integers(0, 10), st.booleans())
def test_it_survives_the_store(row: tuple[RotationMode, Scope], steps: int, doing: bool) -> None:
    operation = begin("r1", "default", *row, 1, RotationFacts(issue={Role.ROBOT: IssueAttempts(("a", "b"))}))
    for name in PLAN[row][:steps]:
        operation = operation.begun(name, 5).ended(name, 6)
    if doing and operation.step in KINDS:
        operation = operation.begun(operation.step, 7)
    again = from_row(to_row(operation))
    assert again == operation and again.issued_names() == ("a", "b")


def test_what_nobody_wrote_is_damage() -> None:
    for body in ("", "{}", "[]", '{"mode": "drain", "scope": "moon", "steps": [], "facts": {}, "reason": ""}'):
        with pytest.raises(VaultDamagedError):
            from_row(OperationRow("r1", "default", "rotation", "open", body, 1, 1))


# Rows of operations.sqlite as version 0.1.0 wrote them.
RECORDED = json.loads((Path(__file__).parent / "rows_0_1_0.json").read_text())


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_row_is_read_and_written_unchanged(name: str) -> None:
    row = OperationRow("r1", "default", "rotation", RECORDED[name]["state"], RECORDED[name]["body"], 1, 2)
    assert to_row(from_row(row)) == row


def test_recorded_rows_hold_every_fact() -> None:
    unknown = RotationFacts()
    recorded = [
        from_row(OperationRow("r1", "a", "rotation", "open", RECORDED[name]["body"], 1, 2)) for name in RECORDED
    ]
    for fact in fields(RotationFacts):
        if fact.name not in ("lost_since",):
            values = [getattr(operation.facts, fact.name) for operation in recorded]
            assert any(value != getattr(unknown, fact.name) for value in values), fact.name
