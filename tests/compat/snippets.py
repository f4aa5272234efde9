"""The snippets of docs/paper-exchange.md, as a reader would paste them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "paper-exchange.md"
PLACEHOLDERS = 'URL, API_KEY, SECRET = "http://127.0.0.1:8700", "…", "…"'


def run_snippet(name: str, exchange: Any) -> str:
    """Run a snippet with an exchange's address and a key of it; return what it prints."""
    text = DOCUMENT.read_text(encoding="utf-8")
    match = re.search(rf"<!-- snippet: {name} -->\n```python\n(.*?)```", text, re.DOTALL)
    assert match is not None and PLACEHOLDERS in match[1], f"there is no snippet {name}"
    made = exchange.key("snippet")
    filled = f"URL, API_KEY, SECRET = {exchange.url!r}, {made['api_key']!r}, {made['secret_key']!r}"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(match[1].replace(PLACEHOLDERS, filled), name, "exec"), {"__name__": name})
    return said.getvalue().strip()
