"""The parts of the documents that are drawn from tables: between two marks, and written anew as a whole. Pure but for
:func:`rewrite`.
"""

from __future__ import annotations

from pathlib import Path


def renewed(text: str, name: str, body: str) -> str:
    """Return a document with its part of a name drawn anew. Raises ``ValueError``: it has no such part."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = text.partition(begin)
    _old, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the document has no part '{name}'")
    return f"{before}{begin}\n\n{body}\n\n{end}{after}"


def rewrite(path: Path, name: str, body: str) -> int:
    """Draw a document's part anew; return the exit code of the program that does it."""
    path.write_text(renewed(path.read_text(encoding="utf-8"), name, body), encoding="utf-8")
    return 0
