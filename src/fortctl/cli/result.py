"""What every command gets and gives: globals, results, questions, the one way of declaring a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Result:
    """What a command found or did.

    Attributes:
        data: the JSON ``data`` object.
        changed: it changed something (False for a no-op and for reading).
        warnings: ``(code, message)`` pairs.
        text: the plain rendering; by default names and values, a line each.
    """

    data: Mapping[str, Any]
    changed: bool = False
    warnings: Sequence[tuple[str, str]] = ()
    text: str | Callable[[], str] | None = None


class OutputClosedError(Exception):
    """Whoever read stdout went away while a command was still streaming."""
