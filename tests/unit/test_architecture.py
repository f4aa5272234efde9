"""The rules of the source tree (docs/architecture.md): its size, its circles, its names.

Who may know whom is said once, by the import contracts in ``pyproject.toml``, which the first test runs.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

from fortctl.robot.core.book import Book
from fortctl.robot.core.book_snapshot import dump, load
from support.harness import REPOSITORY
from tools.docgen import replace_section
from tools.import_diagram import NAME, generated
from tools.import_graph import find_circles, find_modules, guarded_imports, import_graph

MODULES = find_modules(REPOSITORY / "src", "fortctl")
GRAPH = import_graph(MODULES)


def test_the_import_contracts_hold() -> None:
    lint = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(lint, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_root_holds_at_most_seven_modules() -> None:
    root = sorted(path.name for path in (REPOSITORY / "src/fortctl").glob("*.py"))
    assert len(root) <= 7, root


def test_no_folder_holds_more_than_twenty_modules() -> None:
    folders: dict[str, int] = defaultdict(int)
    for path in MODULES.values():
        folders[str(path.parent)] += path.name != "__init__.py"
    assert not {folder: count for folder, count in folders.items() if count > 20}


def test_modules_import_each_other_in_no_circle() -> None:
    assert [sorted(circle) for circle in find_circles(GRAPH)] == []


def test_no_module_imports_the_package_around_it() -> None:
    wrong = {
        name: target
        for name, targets in GRAPH.items()
        for target in targets
        if target != "fortctl" and name.startswith(f"{target}.")
    }
    assert not wrong


def test_no_module_is_typed_by_its_parent() -> None:
    """A parent is a module that makes or calls this one: what it hands down is values, callbacks or a Protocol."""
    wrong = {
        name: target
        for name, path in MODULES.items()
        for target in guarded_imports(path, MODULES)
        if name in GRAPH[target]
    }
    assert not wrong


def test_a_class_name_stands_once() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    assert not {name: modules for name, modules in places.items() if len(modules) > 1}


def test_a_package_opens_with_its_theory_of_operation() -> None:
    packages = {name: path for name, path in MODULES.items() if path.name == "__init__.py" and name != "fortctl"}
    opening = {name: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for name, path in packages.items()}
    assert not {name for name, text in opening.items() if len((text or "").splitlines()) < 5}


def test_the_drawings_in_the_architecture_page_are_the_imports() -> None:
    text = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    assert replace_section(text, NAME, generated()) == text, "run: python -m tools.import_diagram"


def test_build_tools_stay_outside_the_wheel() -> None:
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["packages"] == ["src/fortctl"]
    assert list(build["force-include"].values()) == ["fortctl/emergency.md"]
    tools = {path.stem for path in (REPOSITORY / "tools").glob("*.py")}
    assert tools and not tools & {path.stem for path in MODULES.values()}


def test_a_snapshot_knows_every_part_of_the_book() -> None:
    """A new attribute of the book needs a line in ``robot/core/book_snapshot.py``, or no snapshot is made any more."""
    assert dump(load(dump(Book()))) == dump(Book())
