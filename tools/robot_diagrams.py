"""Draw the robot's diagrams from its transition tables: ``python -m tools.robot_diagrams`` rewrites docs/robot.md."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fortctl.robot.core.cycle import TRANSITIONS
from fortctl.robot.core.lifecycle import DERIVED, KEY, TRADING_MODE
from tools.docgen import rewrite_section

NAME = "diagrams"


def state_diagram(table: Mapping[tuple[Any, Any], Any]) -> str:
    """Return a Mermaid state diagram of a table; what changes nothing, or cannot happen, is left out."""
    arrows = [
        f"    {before.value} --> {after.value}: {event.value}"
        for (before, event), after in table.items()
        if after not in (None, before)
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *arrows, "```"])


def generated() -> str:
    """Return the generated part of docs/robot.md."""
    parts = [
        "### A cycle",
        state_diagram(TRANSITIONS),
        "### The trading mode",
        state_diagram(TRADING_MODE),
        "### The key",
        state_diagram(KEY),
        "### What people see",
        "First match wins: " + " > ".join(f"`{name}`" for name, _holds in DERIVED) + ".",
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    raise SystemExit(rewrite_section(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/robot.md"), NAME, generated()))
