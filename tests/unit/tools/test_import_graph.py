from __future__ import annotations

from pathlib import Path

import pytest

from tools.import_graph import by_package, find_circles, find_modules, guarded_imports, import_graph

FILES = {
    "pkg/__init__.py": "",
    "pkg/a.py": "import os\nfrom pkg.low import b\n",
    "pkg/low/__init__.py": "from pkg.low.b import name\n",
    "pkg/low/b.py": "def late():\n    import pkg.c\n",
    "pkg/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pkg.a import Name\n",
    "pkg/d.py": "import pkg.c\n",
}


def write(folder: Path) -> dict[str, Path]:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return find_modules(folder, "pkg")


def test_imports_at_the_top_in_functions_and_for_the_type_checker_count(tmp_path: Path) -> None:
    modules = write(tmp_path)
    graph = import_graph(modules)
    assert graph == {
        "pkg": frozenset(),
        "pkg.a": {"pkg.low.b"},
        "pkg.low": {"pkg.low.b"},
        "pkg.low.b": {"pkg.c"},
        "pkg.c": {"pkg.a"},
        "pkg.d": {"pkg.c"},
    }
    assert guarded_imports(modules["pkg.c"], modules) == {"pkg.a"}
    assert guarded_imports(modules["pkg.low.b"], modules) == frozenset()


def test_a_circle_is_found_through_each_kind_of_import(tmp_path: Path) -> None:
    graph = import_graph(write(tmp_path))
    assert find_circles(graph) == [{"pkg.a", "pkg.low.b", "pkg.c"}]
    assert find_circles(by_package(graph, 2)) == [{"pkg.a", "pkg.low", "pkg.c"}]
    assert find_circles({"a": frozenset("b"), "b": frozenset("c"), "c": frozenset()}) == []
    assert find_circles({"a": frozenset("b"), "b": frozenset("a"), "c": frozenset("d"), "d": frozenset("c")}) == [
        {"a", "b"},
        {"c", "d"},
    ]


def test_a_relative_import_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/a.py").write_text("from . import b\n")
    with pytest.raises(ValueError, match="line 1"):
        import_graph(find_modules(tmp_path, "pkg"))
