"""Every rotation, killed before and after every write of its journal, and gone on with by the same command.

A row of ``make test`` is named ``mode-role-step-issuer``: at that step four kills come one after another, of fortctl,
of the robot, of both (:data:`INSTANTS`). ``make crash`` plays each kill alone, named
``mode-role-step-write-when-who-issuer``: the write is ``doing`` (before the step) or ``done`` (after it). Each row ends
like the same rotation undisturbed, and at no moment is a role without a key that the exchange accepts, but where the
mode says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fortctl.paper.engine.accounts import LOOPBACK
from fortctl.services.keys.issuer import PERSON, SUB_ACCOUNT
from fortctl.services.rotation.plan import PLAN, ROTATIONS, RotationMode, Scope
from support.rotation_world import Killed, Stage

EVERYTHING = bool(os.environ.get("FORTCTL_CRASH"))
ISSUERS = (PERSON, SUB_ACCOUNT)
# (write, when) → who is killed there.
INSTANTS = {
    ("doing", "before"): "fortctl",
    ("doing", "after"): "both",
    ("done", "before"): "robot",
    ("done", "after"): "fortctl",
}
STEPS = [(mode, scope, step) for (mode, scope), row in PLAN.items() if mode in ROTATIONS for step in row]


def rotated(
    folder: Path, mode: RotationMode, scope: Scope, issuer: str, fuse: Any = None
) -> tuple[dict[str, Any], Stage]:
    stage = Stage(folder, issuer)
    try:
        addresses = None
        if mode is RotationMode.URGENT:
            # The old keys are gone: that is why it is urgent. The issuer's lists are gone with them.
            addresses = LOOPBACK if issuer == SUB_ACCOUNT else None
            for role in scope.roles:
                stage.engine.delete_key(f"{role}-old")
        if fuse is not None:
            stage.fuse = lambda *at: fuse(stage, *at)
        for _process in range(6):
            try:
                assert stage.rotate(mode, scope, addresses=addresses).operation.state == "done"
                break
            except Killed:
                continue
        return stage.end_state(), stage
    finally:
        stage.end()


@cache
def undisturbed(mode: RotationMode, scope: Scope, issuer: str) -> dict[str, Any]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return rotated(Path(folder) / "home", mode, scope, issuer)[0]


def killing(step: str, instants: Mapping[tuple[str, str], str], hit: list[dict[Any, bool]]) -> Any:
    """Return a fuse that kills once at each of the instants of a step, and notes which keys are usable then."""
    left = dict(instants)

    def fuse(stage: Stage, at: str, state: str, when: str) -> None:
        who = left.pop((state, when), None) if at == step else None
        if who is None:
            return
        hit.append(stage.usable())
        if who in ("robot", "both"):
            stage.robot.kill()
        if who in ("fortctl", "both"):
            raise Killed

    return fuse


def check(folder: Path, mode: RotationMode, scope: Scope, step: str, issuer: str, instants: Any) -> None:
    hit: list[dict[Any, bool]] = []
    found, _stage = rotated(folder, mode, scope, issuer, killing(step, instants, hit))
    assert len(hit) == len(instants), "every instant was reached"
    assert found == undisturbed(mode, scope, issuer)
    if mode is not RotationMode.URGENT:
        assert all(all(usable.values()) for usable in hit), f"a role had no usable key: {hit}"


@pytest.mark.parametrize(
    ("mode", "scope", "step", "issuer"),
    [
        pytest.param(mode, scope, step, ISSUERS[number % 2], id=f"{mode}-{scope}-{step}-{ISSUERS[number % 2]}")
        for number, (mode, scope, step) in enumerate(STEPS)
    ],
)
def test_killed_at_a_step_and_gone_on_with(
    tmp_path: Path, mode: RotationMode, scope: Scope, step: str, issuer: str
) -> None:
    check(tmp_path / "home", mode, scope, step, issuer, INSTANTS)


ALONE = [
    pytest.param(*row, state, when, who, issuer, id=f"{'-'.join(row)}-{state}-{when}-{who}-{issuer}")
    for row in STEPS
    for state, when in INSTANTS
    for who in ("fortctl", "robot", "both")
    for issuer in ISSUERS
]


@pytest.mark.parametrize(("mode", "scope", "step", "state", "when", "who", "issuer"), ALONE if EVERYTHING else [])
def test_each_kill_alone(
    tmp_path: Path, mode: RotationMode, scope: Scope, step: str, state: str, when: str, who: str, issuer: str
) -> None:
    check(tmp_path / "home", mode, scope, step, issuer, {(state, when): who})


@pytest.mark.parametrize(("mode", "scope"), [row for row in PLAN if row[0] in ROTATIONS])
@pytest.mark.parametrize("issuer", ISSUERS)
def test_undisturbed(mode: RotationMode, scope: Scope, issuer: str) -> None:
    """The end that every row is compared with is the right one."""
    found = undisturbed(mode, scope, issuer)
    old = sorted(f"{role}-old" for role in ("site", "robot") if role not in [one.value for one in scope.roles])
    assert found == {
        "every key at the exchange is one of the two in use": True,
        "old keys in use": old,
        "retiring copies": [False, False],
        "state": "running",
        "open rotation": False,
        "orders of the book are the exchange's": True,
        "placed twice": 0,
        "usable": ["robot", "site"],
    }
