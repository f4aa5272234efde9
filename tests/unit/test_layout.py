"""The rules of the tests' own layout (docs/testing.md)."""

from __future__ import annotations

import ast

from support.harness import REPOSITORY

TESTS = REPOSITORY / "tests"
FOLDERS = {"unit", "component", "process", "simulation", "compat", "planted", "mutants"}


def test_no_test_imports_from_another_test() -> None:
    wrong = []
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                named = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            wrong += [f"{path}: {name}" for name in named if any(part.startswith("test_") for part in name.split("."))]
    assert not wrong


def test_every_test_stands_in_a_folder_of_the_map() -> None:
    files = [path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")]
    assert len(files) > 100
    assert {path.parts[0] for path in files} == FOLDERS


def test_every_folder_of_the_unit_tests_is_a_package_of_the_product() -> None:
    folders = {path.parent.relative_to(TESTS / "unit") for path in (TESTS / "unit").rglob("test_*.py")}
    missing = {str(name) for name in folders if not (REPOSITORY / "src" / "fortctl" / name).is_dir()}
    assert missing <= {"tools"}
