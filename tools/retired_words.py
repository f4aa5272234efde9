"""Find words that our texts no longer use: ``python -m tools.retired_words [PATH…]`` lists each place in the source.

It reads the texts that people read: docstrings, comments, and strings of several words (messages, hints, help).
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "fortctl"

# What to retire, and what to say instead.
RETIRED = {
    r"\btold\b|\btells? of\b": "report, say, show, receive",
    r"\bheard\b": "received, answered",
    r"\bwhoever\b": "name the actor: the robot, the operator, a command",
    r"\bgo(?:es|ne|ing)? on\b(?! (?:the|a|to)\b)": "continue, resume",
    r"(?<!there )\bis no (?!longer\b|more\b)": "is not a, must be a",
    r"\b(?:taken?|took|takes) in\b": "accept, store",
    r"\bmust not ask\b": "is rate-limited",
    r"\banew\b": "again, from the start",
    r"\b(?:bears?|bore)\b": "has, contains",
    r"\bmend(?:s|ed)?\b": "fix, repair, check",
    r"\bput away\b": "no longer in use",
    r"\bsecond look\b": "second check",
    r"\bwanted\b": "needed, planned, required",
    r"\bin words\b": "as text",
}
_ANY = {re.compile(pattern, re.IGNORECASE): instead for pattern, instead in RETIRED.items()}


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each comment and each string of several words in *source*, which is Python."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def find_retired(source: str) -> list[tuple[int, str, str]]:
    """Return (line, words, what to say instead) for each retired word of *source*, by line."""
    found = []
    for start, text in texts(source):
        for pattern, instead in _ANY.items():
            for match in pattern.finditer(text):
                line = start + text.count("\n", 0, match.start())
                found.append((line, text[max(0, match.start() - 30) : match.end() + 30].replace("\n", " "), instead))
    return sorted(found)


def find_in(root: Path) -> Iterator[tuple[Path, int, str, str]]:
    """Yield (file, line, words, what to say instead) for each retired word under *root*."""
    for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
        for line, words, instead in find_retired(path.read_text(encoding="utf-8")):
            yield path, line, words, instead


def main(arguments: list[str]) -> int:
    """Print each place under the paths of *arguments*; return 1 if there is one."""
    places = [place for root in arguments or [str(SOURCE)] for place in find_in(Path(root))]
    for path, line, words, instead in places:
        print(f"{path}:{line}: …{words}… ({instead})")
    return 1 if places else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
