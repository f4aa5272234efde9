"""Draw the rotations from their table: ``python -m tools.rotation_diagram`` rewrites docs/rotation.md."""

from __future__ import annotations

import sys
from pathlib import Path

from fortctl.services.rotation.plan import KINDS, PLAN, ROTATIONS, RotationMode, Scope
from tools.docgen import rewrite_section

NAME = "sequence"
_WAITS = {"create": "a person, or the issuer", "delete": "a person, or the issuer", "prove": "the exchange"}


def flow(mode: RotationMode, scope: Scope) -> str:
    """Return a Mermaid flow chart of one rotation; a step that waits for somebody is drawn round."""
    row = PLAN[mode, scope]
    nodes = [
        f"    {name}([{name}: waits for {_WAITS[name]}])" if name in _WAITS else f"    {name}[{name}]" for name in row
    ]
    arrows = [f"    {before} --> {after}" for before, after in zip(row, (*row[1:], "done"), strict=True)]
    return "\n".join(["```mermaid", "flowchart LR", *nodes, *arrows, "```"])


def generated() -> str:
    """Return the generated part of docs/rotation.md."""
    parts: list[str] = []
    for mode in ROTATIONS:
        parts += [f"### {mode}, both keys", flow(mode, Scope.BOTH)]
    rows = [
        f"| `{kind.name}` | {kind.does} | {kind.waits_for or '–'} | {kind.resumes} | {kind.aborts} |"
        for kind in KINDS.values()
    ]
    head = "| step | what it does | waits for | found half done | `--abort` there |\n| --- | --- | --- | --- | --- |"
    plans = [f"| {mode} | {scope} | {' → '.join(row)} |" for (mode, scope), row in PLAN.items() if mode in ROTATIONS]
    parts += ["### The steps", "\n".join([head, *rows]), "### Which rotation has which"]
    parts += ["\n".join(["| mode | role | steps |", "| --- | --- | --- |", *plans])]
    return "\n\n".join(parts)


if __name__ == "__main__":
    raise SystemExit(rewrite_section(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/rotation.md"), NAME, generated()))
