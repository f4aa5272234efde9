"""Every name that a benchmark imports exists, at its top and in its functions; no other test at a landing runs them."""

from __future__ import annotations

import ast
import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPTS = sorted(path for path in FOLDER.rglob("*.py"))
OURS = ("fortctl", "support", "simulation")


def imported(path: Path) -> list[tuple[str, str | None]]:
    """Return (module, name or None) of everything that a script imports, wherever the import stands."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.module, alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_name_of_ours_that_a_benchmark_imports_exists(path: Path) -> None:
    for module, name in imported(path):
        if module.split(".")[0] not in OURS:
            continue
        assert find_spec(module) is not None, f"{path.name} imports {module}"
        if name is not None and not hasattr(importlib.import_module(module), name):
            assert find_spec(f"{module}.{name}") is not None, f"{path.name} imports {name} from {module}"
