"""Draw the robot's diagrams from its transition tables: ``python -m fortctl.robot.diagrams`` rewrites docs/robot.md."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from fortctl.drawn import rewrite
from fortctl.robot.cycle import TRANSITIONS
from fortctl.robot.lifecycle import DERIVED, KEY, WISH

NAME = "diagrams"


def state_diagram(transitions: Iterable[tuple[str, str, str]]) -> str:
    """Return a Mermaid state diagram; a transition that changes nothing is left out."""
    arrows = [f"    {before} --> {after}: {event}" for before, event, after in transitions if before != after]
    return "\n".join(["```mermaid", "stateDiagram-v2", *arrows, "```"])


def diagrams() -> str:
    """Return the generated part of docs/robot.md."""
    parts = [
        "### A cycle",
        state_diagram((before.value, event.value, after.value) for (before, event), after in TRANSITIONS.items()),
        "### The wish",
        state_diagram((before.value, event.value, after.value) for (before, event), after in WISH.items()),
        "### The key",
        state_diagram((before.value, event.value, after.value) for (before, event), after in KEY.items()),
        "### What people see",
        "First match wins: " + " > ".join(f"`{name}`" for name, _holds in DERIVED) + ".",
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    raise SystemExit(rewrite(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/robot.md"), NAME, diagrams()))
