"""The imports of a package, read from its source without running it.

Every import counts, wherever it stands: at the top of a module, inside a function or under ``TYPE_CHECKING``. An import
inside a function still couples two modules, and an import for the type checker alone still needs the other module to
be understood.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

Graph = Mapping[str, frozenset[str]]


def find_modules(source: Path, package: str) -> dict[str, Path]:
    """Return each module of *package* under the folder *source*: its dotted name and its file."""
    names = {}
    for path in sorted((source / package).rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imported_names(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Yield (module, attribute) of each absolute import below *tree*; the attribute is None for ``import module``.

    Raises:
        ValueError: an import is relative, and would need the importing package to be resolved.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ValueError(f"relative import in line {node.lineno}")
            yield from ((node.module, alias.name) for alias in node.names)


def imported_modules(tree: ast.AST, modules: Iterable[str]) -> frozenset[str]:
    """Return those of *modules* that are imported below *tree*; ``from package import module`` counts as the module."""
    known = set(modules)
    targets = {
        name if attribute is None or f"{name}.{attribute}" not in known else f"{name}.{attribute}"
        for name, attribute in imported_names(tree)
    }
    return frozenset(targets & known)


def import_graph(modules: Mapping[str, Path]) -> Graph:
    """Return what each of *modules* imports of the others."""
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules.items()}
    return {name: imported_modules(tree, modules) - {name} for name, tree in trees.items()}


def guarded_imports(path: Path, modules: Iterable[str]) -> frozenset[str]:
    """Return those of *modules* that the file *path* imports under ``if TYPE_CHECKING:``."""
    found: frozenset[str] = frozenset()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            found |= imported_modules(ast.Module(node.body, []), modules)
    return found


def by_package(graph: Graph, depth: int) -> dict[str, frozenset[str]]:
    """Return *graph* with every module folded into the first *depth* parts of its name."""
    folded: dict[str, set[str]] = {}
    for name, targets in graph.items():
        package = ".".join(name.split(".")[:depth])
        folded.setdefault(package, set()).update(".".join(target.split(".")[:depth]) for target in targets)
    return {name: frozenset(targets - {name}) for name, targets in folded.items()}


def find_circles(graph: Graph) -> list[frozenset[str]]:
    """Return the circles of *graph*: its strongly connected components of two modules or more (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[frozenset[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in sorted(graph.get(name, ())):
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            start = stack.index(name)
            if len(stack) - start > 1:
                circles.append(frozenset(stack[start:]))
            del stack[start:]

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return circles
