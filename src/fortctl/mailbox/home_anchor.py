"""Where an operator's home stands: what a robot remembers to notice a home that was rolled back."""

from __future__ import annotations

from typing import NamedTuple


class HomeAnchor(NamedTuple):
    """The state of an operator's home when it sent a command.

    Attributes:
        generation: of the site's vault.
        audit_number, audit_hash: the last entry of the audit log (0 and empty: none yet).
    """

    generation: int
    audit_number: int
    audit_hash: str
