"""The tool notices what it must (``make mutants`` runs it), and its list of equivalents is that of the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mutants.mutations import Mutant, MutatedModule
from mutants.run import (
    DECLARED,
    DOCUMENT,
    SOURCE,
    Laboratory,
    equivalents,
    equivalents_table,
    files_of,
    is_declared,
    laboratory,
    modules_of,
    sample,
)
from mutants.subjects import SUBJECTS
from tools.docgen import replace_section

FILE = "robot/core/lifecycle.py"
TESTS = "tests/unit/robot/core/test_transition_tables.py"
QUICK = [f"{TESTS}::test_derived_states_come_in_the_order_of_the_design"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Laboratory]:
    with laboratory([FILE], [TESTS]) as one:
        yield one


def mutant_of(module: MutatedModule, change: str) -> Mutant:
    return next(one for one in module.mutants if one.change == change)


def test_a_mutant_is_killed_and_the_source_itself_survives(lab: Laboratory) -> None:
    module = MutatedModule(SOURCE, FILE)
    mutant = mutant_of(module, "return [next((name for name, holds in DERIVED if holds(facts))) => None]")
    assert set(QUICK) < set(lab.tests)
    (record,) = lab.record(QUICK, [FILE]).values()
    assert record["passed"] and mutant.lines[0] in record["lines"][FILE]
    assert lab.failing(mutant, module.source_of(mutant), QUICK, 60) == QUICK[0]
    assert lab.failing(mutant, module.unchanged, QUICK, 60) is None


def test_a_mutant_that_the_import_runs_is_killed(lab: Laboratory) -> None:
    module = MutatedModule(SOURCE, FILE)
    mutant = next(one for one in module.mutants if "XXlatched" in one.change)
    assert not mutant.function
    assert lab.failing(mutant, module.source_of(mutant), QUICK, 60) == QUICK[0]


def test_each_mutant_is_another_program_that_python_can_read(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "def least(a, b, *, fee=0):\n"
        "    if not a and b > 1:\n"
        "        raise ValueError('no price')\n"
        "    return min(a + fee, b)\n",
        encoding="utf-8",
    )
    module = MutatedModule(tmp_path, "one.py")
    sources = [module.source_of(one) for one in module.mutants]
    assert len(set(sources)) == len(sources) > 15 and module.unchanged not in sources
    assert all(ast.parse(source) for source in sources)
    assert {
        "def least(a, b, *, fee=[0 => 1]):",
        "if [not  => ]a and b > 1:",
        "if not a and b [> => >=] 1:",
        "[raise ValueError('no price') => pass]",
        "return [min(a + fee, b) => None]",
        "return [min => max](a + fee, b)",
        "return min(a [+ => -] fee, b)",
    } <= {one.change for one in module.mutants}


def test_a_change_elsewhere_leaves_the_sample_as_it_is(tmp_path: Path) -> None:
    text = (SOURCE / FILE).read_text(encoding="utf-8")
    (tmp_path / "one.py").write_text(text, encoding="utf-8")
    before = [one.name for one in sample(MutatedModule(tmp_path, "one.py").mutants, 10, 1)]
    (tmp_path / "one.py").write_text("import os\n\n" + text, encoding="utf-8")
    assert [one.name for one in sample(MutatedModule(tmp_path, "one.py").mutants, 10, 1)] == before
    assert [one.name for one in sample(MutatedModule(tmp_path, "one.py").mutants, 10, 2)] != before


def test_every_subject_has_mutants_and_tests() -> None:
    for subject in SUBJECTS:
        assert any(module.mutants for module in modules_of(subject)), subject.name
        assert files_of(subject.tests), subject.name


def test_every_declared_equivalent_is_a_mutant_of_the_source() -> None:
    for one in equivalents():
        module = MutatedModule(SOURCE, one.file)
        there = {mutant.change for mutant in module.mutants if is_declared(mutant, [one])}
        assert there == set(one.changes), f"{one.file}: {one.scope}: {set(one.changes) - there}"
        assert one.reason and any(one.file.startswith(subject.name) for subject in SUBJECTS)


def test_the_documents_list_of_equivalents_is_that_of_the_tool() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert replace_section(text, DECLARED, equivalents_table()) == text
