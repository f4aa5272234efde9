"""Draw the packages from their imports: ``python -m tools.import_diagram`` rewrites docs/architecture.md."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.docgen import rewrite_section
from tools.import_graph import Graph, by_package, find_modules, import_graph

NAME = "imports"
SOURCE = Path(__file__).resolve().parents[1] / "src"
# Everybody may import these, so an arrow to one says nothing.
VOCABULARY = {"errors", "secret", "timestamps", "canonical_json", "model", "system"}


def _reaches(graph: Graph, start: str, goal: str) -> bool:
    reached, waiting = set(), [start]
    while waiting:
        for target in graph.get(waiting.pop(), ()):
            if target == goal:
                return True
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    return False


def without_shortcuts(graph: Graph) -> dict[str, frozenset[str]]:
    """Return *graph* without each edge whose two ends a longer path connects too (its transitive reduction)."""
    reduced = dict(graph)
    for name in sorted(graph):
        for target in sorted(graph[name]):
            trial = {**reduced, name: reduced[name] - {target}}
            if _reaches(trial, name, target):
                reduced = trial
    return reduced


def flow(graph: Graph) -> str:
    """Return *graph* as a Mermaid flow chart, each package above those that it imports."""
    reduced = without_shortcuts(graph)
    lonely = set(graph) - {name for name in graph if reduced[name]} - set().union(*reduced.values())
    arrows = [f"    {name} --> {' & '.join(sorted(reduced[name]))}" for name in sorted(reduced) if reduced[name]]
    return "\n".join(["```mermaid", "flowchart TD", *(f"    {name}" for name in sorted(lonely)), *arrows, "```"])


def packages(graph: Graph, parent: str) -> dict[str, frozenset[str]]:
    """Return the imports between the packages and modules directly inside *parent*, by their short names."""
    inside = {
        name: frozenset(target for target in targets if target.startswith(f"{parent}."))
        for name, targets in graph.items()
        if name.startswith(f"{parent}.")
    }
    folded = by_package(inside, parent.count(".") + 2)
    short = len(parent) + 1
    return {name[short:]: frozenset(target[short:] for target in targets) for name, targets in folded.items()}


def generated() -> str:
    """Return the generated part of docs/architecture.md."""
    graph = import_graph(find_modules(SOURCE, "fortctl"))
    roots = packages(graph, "fortctl")
    shown = {name: targets - VOCABULARY for name, targets in roots.items() if name not in VOCABULARY}
    parts = ["### The packages", flow(shown)]
    parts += ["### Inside the robot", flow(packages(graph, "fortctl.robot"))]
    parts += ["### Inside the paper exchange", flow(packages(graph, "fortctl.paper"))]
    return "\n\n".join(parts)


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/architecture.md")
    raise SystemExit(rewrite_section(path, NAME, generated()))
