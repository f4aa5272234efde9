"""The rules of the tests' own layout (docs/testing.md)."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any

import pytest

from support.harness import REPOSITORY

TESTS = REPOSITORY / "tests"
FOLDERS = {"unit", "component", "process", "simulation", "compat", "planted", "mutants"}


@functools.cache
def trees() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in TESTS.rglob("*.py")]


def test_no_test_imports_from_another_test() -> None:
    wrong = []
    for path, tree in trees():
        for node in ast.walk(tree):
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


def definitions(kind: type[ast.AST] | tuple[type[ast.AST], ...]) -> list[tuple[Path, Any]]:
    """Return the nodes of a kind in all tests but the foreign clients', each with its file."""
    return [
        (path.relative_to(TESTS), node)
        for path, tree in trees()
        if "compat" not in path.parts
        for node in ast.walk(tree)
        if isinstance(node, kind)
    ]


@pytest.mark.parametrize(
    ("methods", "place"),
    [
        ({"now_ms", "monotonic"}, "support/clock.py"),
        ({"place", "cancel", "symbol_rules"}, "support/engine_exchange.py"),
    ],
    ids=["clock", "exchange"],
)
def test_what_stands_for_a_port_stands_once(methods: set[str], place: str) -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    having = [
        path.as_posix()
        for path, node in definitions(ast.ClassDef)
        if methods <= {one.name for one in node.body if isinstance(one, functions)}
    ]
    assert having == [place]


def test_no_fixture_is_written_twice() -> None:
    made: dict[str, list[str]] = {}
    for path, node in definitions((ast.FunctionDef, ast.AsyncFunctionDef)):
        if any("fixture" in ast.dump(one) for one in node.decorator_list):
            body = "".join(map(ast.unparse, node.body[ast.get_docstring(node) is not None :]))
            made.setdefault(f"{node.name}: {body}", []).append(path.as_posix())
    assert len(made) > 30 and not [files for files in made.values() if len(files) > 1]
