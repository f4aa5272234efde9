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
    Operation,
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


# Rows of operations.sqlite as version 0.1.0 wrote them, and one with what the operator accepted (``--allow``).
RECORDED = {
    name: row
    for file in ("rows_0_1_0.json", "rows_with_allow.json")
    for name, row in json.loads((Path(__file__).parent / file).read_text()).items()
}


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


# -- what people and scripts read --------------------------------------------------------------------------------------


def test_the_rows_are_those_of_the_document() -> None:
    site = "check create store delete prove"
    assert {(mode.value, scope.value): " ".join(row) for (mode, scope), row in PLAN.items()} == {
        ("drain", "site"): site,
        ("drain", "robot"): "check drain stop create deliver verify start delete prove",
        ("drain", "both"): "check drain stop create store deliver verify start delete prove",
        ("overlap", "site"): site,
        ("overlap", "robot"): "check create deliver verify delete prove",
        ("overlap", "both"): "check create store deliver verify delete prove",
        ("urgent", "site"): site,
        ("urgent", "robot"): "check create deliver verify delete prove",
        ("urgent", "both"): "check create store deliver verify delete prove",
        ("issue", "site"): "create store",
        ("issue", "robot"): "create deliver",
    }
    assert Scope.BOTH.roles == (Role.SITE, Role.ROBOT)
    assert (Scope.SITE.roles, Scope.ROBOT.roles) == ((Role.SITE,), (Role.ROBOT,))


def at_step(name: str, scope: Scope = Scope.BOTH, mode: RotationMode = RotationMode.OVERLAP) -> Operation:
    """Return a rotation that has reached a step, which is not begun."""
    operation = begin("r1", "default", mode, scope, 1_000)
    for step in PLAN[mode, scope]:
        if step == name:
            break
        operation = operation.begun(step, 2_000).ended(step, 3_000)
    return operation


def test_an_operation_as_json() -> None:
    operation = at_step("create").begun("create", 5_000)
    assert operation.as_json() == {
        "id": "r1",
        "account": "default",
        "mode": "overlap",
        "role": "both",
        "state": "open",
        "step": "create",
        "waits_for": "the new key (a person), or the exchange's answer (the issuer)",
        "steps": [
            {"name": "check", "state": "done", "at": "1970-01-01T00:00:03.000Z"},
            {"name": "create", "state": "doing", "at": "1970-01-01T00:00:05.000Z"},
            *(
                {"name": name, "state": "todo", "at": None}
                for name in ("store", "deliver", "verify", "delete", "prove")
            ),
        ],
        "trading_gap_s": None,
        "issuer": operation.facts.issuer,
        "started_at": "1970-01-01T00:00:01.000Z",
        "updated_at": "1970-01-01T00:00:05.000Z",
        "reason": None,
    }
    assert at_step("check").as_json()["waits_for"] is None


@pytest.mark.parametrize("step", ["store", "deliver", "verify"])
def test_a_key_that_is_missing_is_waited_for_where_it_is_taken_in(step: str) -> None:
    operation = at_step(step)
    kind = KINDS[step].waits_for
    assert operation.as_json()["waits_for"] == kind
    lacking = operation.noted(9_000, replace(operation.facts, missing=(Role.SITE, Role.ROBOT)))
    expected = kind if step == "verify" else "another new site and robot key (a person)"
    assert lacking.as_json()["waits_for"] == expected and lacking.updated_at == 9_000


@pytest.mark.parametrize(
    ("step", "swapped"), [("create", False), ("store", False), ("deliver", True), ("verify", True), ("prove", True)]
)
def test_a_new_key_is_in_use_once_it_is_stored_or_delivered(step: str, swapped: bool) -> None:
    assert at_step(step).swapped is swapped
    assert at_step("verify", Scope.ROBOT).swapped and not at_step("deliver", Scope.ROBOT).swapped
    assert not at_step(step).is_done(step) and at_step(step).is_done("check")


def test_one_that_is_aborted_says_why_and_changes_no_more() -> None:
    operation = at_step("store").begun("store", 4_000)
    facts = replace(operation.facts, left="a key")
    over = operation.aborted(8_000, "a person's wish", facts)
    assert (over.state, over.step, over.reason, over.updated_at, over.facts) == (
        *("aborted", "aborted", "a person's wish", 8_000),
        facts,
    )
    assert over.as_json()["reason"] == "a person's wish" and over.as_json()["waits_for"] is None
    assert operation.aborted(8_000, "x").facts == operation.facts
    for change in (
        lambda: over.aborted(9_000, "again"),
        lambda: over.noted(9_000, facts),
        lambda: over.finished(9_000),
        lambda: over.begun("store", 9_000),
        lambda: over.ended("store", 9_000),
    ):
        with pytest.raises(ConflictError):
            change()


def test_a_step_that_was_not_begun_cannot_end_and_keeps_its_facts() -> None:
    operation = at_step("deliver")
    with pytest.raises(ConflictError, match="'deliver' was not begun"):
        operation.ended("deliver", 5_000)
    with pytest.raises(ConflictError, match="at 'deliver', not at 'verify'"):
        operation.begun("verify", 5_000)
    with pytest.raises(ConflictError, match="at 'deliver'"):
        operation.finished(5_000)
    noted = operation.noted(4_000, replace(operation.facts, left="something")).begun("deliver", 5_000)
    ended = noted.ended("deliver", 6_000)
    assert ended.facts.left == "something" and ended.updated_at == 6_000 and noted.updated_at == 5_000
    (step,) = [step for step in ended.steps if step.name == "deliver"]
    assert (step.state, step.at) == ("done", 6_000)


def test_the_row_of_a_rotation_has_its_kind_state_and_times() -> None:
    operation = at_step("store").aborted(7_000, "why")
    row = to_row(operation)
    assert (row.id, row.account, row.kind, row.state, row.started_at, row.updated_at) == (
        *("r1", "default", "rotation", "aborted", 1_000),
        7_000,
    )
    body = json.loads(row.body)
    assert (body["mode"], body["scope"], body["reason"]) == ("overlap", "both", "why")
    assert body["steps"][:2] == [["check", "done", 3_000], ["create", "done", 3_000]] and from_row(row) == operation


def test_facts_may_be_given_at_the_beginning() -> None:
    facts = RotationFacts(issue={Role.SITE: IssueAttempts(("a",)), Role.ROBOT: IssueAttempts(("b", "c"))})
    operation = begin("r1", "default", RotationMode.DRAIN, Scope.BOTH, 5, facts)
    assert operation.facts is facts and operation.issued_names() == ("a", "b", "c")
    assert (operation.started_at, operation.updated_at, operation.state) == (5, 5, "open")
