"""Write the table of settings: ``python -m tools.settings_table`` rewrites docs/configuration.md."""

from __future__ import annotations

import sys
from pathlib import Path

from fortctl.config.settings import SETTINGS
from tools.docgen import rewrite_section

NAME = "settings"


def generated() -> str:
    """Return the generated part of docs/configuration.md."""
    lines = ["| setting | type | default | meaning |", "| --- | --- | --- | --- |"]
    for setting in SETTINGS.values():
        written = setting.kind.write(setting.default)
        default = " ".join(written) or "off" if isinstance(written, list) else written
        kind = setting.kind.name.replace("|", ", ")
        lines.append(f"| `{setting.name}` | {kind} | `{default}` | {setting.help} |")
    return "\n".join(lines)


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/configuration.md")
    raise SystemExit(rewrite_section(path, NAME, generated()))
