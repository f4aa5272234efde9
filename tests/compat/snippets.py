"""The snippets of docs/paper-exchange.md, as a reader would paste them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "paper-exchange.md"
PLACEHOLDERS = 'URL, API_KEY, SECRET = "http://127.0.0.1:8700", "…", "…"'


def snippet(name: str, language: str) -> str:
    """Return a snippet as it stands in the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    match = re.search(rf"<!-- snippet: {name} -->\n```{language}\n(.*?)```", text, re.DOTALL)
    assert match is not None, f"there is no snippet {name}"
    return match[1]


def run_snippet(name: str, exchange: Any) -> str:
    """Run a snippet with an exchange's address and a key of it; return what it prints."""
    text = snippet(name, "python")
    assert PLACEHOLDERS in text, f"the snippet {name} names no address and key"
    made = exchange.key("snippet")
    filled = f"URL, API_KEY, SECRET = {exchange.url!r}, {made['api_key']!r}, {made['secret_key']!r}"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(text.replace(PLACEHOLDERS, filled), name, "exec"), {"__name__": name})
    return said.getvalue().strip()
