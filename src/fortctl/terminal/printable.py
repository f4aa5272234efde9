"""Make text safe to print: what an exchange, a file or a plugin wrote must not steer a terminal. Pure.

Control characters move the cursor, clear the screen or set its title; bidirectional controls show text in another order
than it has. Both are printed as escapes. The colours that fortctl itself uses pass, and nothing else does.
"""

from __future__ import annotations

import re

# C0 but tab and line feed, DEL and C1 (ECMA-48); line and paragraph separators; bidirectional controls (UAX #9).
_UNSAFE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_OWN_COLOURS = re.compile("(\x1b\\[(?:0|1|2|31|32|33|36)m)")
_UNSAFE_CHARACTER = re.compile(f"[{_UNSAFE}]")


def printable(text: str) -> str:
    """Return *text* with every unsafe character as ``\\xHH`` or ``\\uHHHH``; fortctl's own colours stay."""
    if not _UNSAFE_CHARACTER.search(text):
        return text
    parts = _OWN_COLOURS.split(text)
    return "".join(part if index % 2 else _UNSAFE_CHARACTER.sub(_escape, part) for index, part in enumerate(parts))


def printable_json(text: str) -> str:
    """Return one line of JSON with every unsafe character as a JSON escape (RFC 8259, section 7).

    Between the values of a document there are none, so that each stands inside a string.
    """
    return _UNSAFE_CHARACTER.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
