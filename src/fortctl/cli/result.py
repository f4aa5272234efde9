"""What a command returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """The outcome of a command that succeeded.

    Attributes:
        data: the ``data`` object of the JSON document.
        changed: True if the command changed something, False if it only read or had nothing to change.
        warnings: ``(code, message)`` pairs.
        text: the plain rendering, or a function that makes it; None renders ``data`` as names and values, a line each.
    """

    data: Mapping[str, Any]
    changed: bool = False
    warnings: Sequence[tuple[str, str]] = ()
    text: str | Callable[[], str] | None = None


class OutputClosedError(Exception):
    """The reader of stdout closed it while the command was streaming (``| head``)."""
