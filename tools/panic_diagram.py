"""Draw the steps of a panic from their table: ``python -m tools.panic_diagram`` rewrites docs/robot.md."""

from __future__ import annotations

import sys
from pathlib import Path

from fortctl.services.panic.plan import PLAN, PanicStepKind
from tools.docgen import rewrite_section

NAME = "panic steps"


def direct(kind: PanicStepKind) -> tuple[str, ...]:
    """Return the steps that *kind* follows, without those that another of them follows already."""
    kinds = {row.name: row for row in PLAN}

    def before(name: str) -> set[str]:
        return {name}.union(*(before(earlier) for earlier in kinds[name].after))

    return tuple(name for name in kind.after if not any(name in before(other) for other in kind.after if other != name))


def flow() -> str:
    """Return a Mermaid flow chart; a dotted arrow leads to a step that waits in the middle of its work."""
    ids = {kind.name: f"step{number}" for number, kind in enumerate(PLAN)}
    nodes = [f'    {ids[kind.name]}["{kind.name}: {kind.limit}"]'.replace("`", "") for kind in PLAN]
    arrows = [f"    {ids[name]} --> {ids[kind.name]}" for kind in PLAN for name in direct(kind)]
    waits = [f"    {ids[name]} -.-> {ids[kind.name]}" for kind in PLAN for name in kind.then_after]
    return "\n".join(["```mermaid", "flowchart TD", *nodes, *arrows, *waits, "```"])


def generated() -> str:
    """Return the generated part of docs/robot.md."""
    head = (
        "| step | begins after | what it does | time limit | when it fails | when the limit is over |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    rows = []
    for kind in PLAN:
        after = ", ".join(f"`{name}`" for name in direct(kind)) or "the command line is confirmed"
        if kind.then_after:
            after += f"; may then wait for {', '.join(f'`{name}`' for name in kind.then_after)}"
        cells = (f"`{kind.name}`", after, kind.does, str(kind.limit), kind.on_failure, kind.at_limit)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n\n".join([flow(), "\n".join([head, *rows])])


if __name__ == "__main__":
    raise SystemExit(rewrite_section(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/robot.md"), NAME, generated()))
