"""How far a journal had got, written beside it, so that an older or another journal is noticed (decision 0019).

The anchor names the journal, the last event it had, and the first cycle number that was certainly never used. It is
written before a block of numbers is used, and once more at a clean end: rarely, and never after the fact.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fortctl.errors import JournalUnwritableError, VaultDamagedError
from fortctl.system.files import read_regular, replace_file

# Cycle numbers that are reserved by one write; a robot that was killed skips what is left of them.
BLOCK = 100


@dataclass(frozen=True)
class JournalCheckpoint:
    """What is known of a journal without reading it.

    Attributes:
        journal: its identity.
        seq: its last event when this was written.
        next: no cycle number from here on was ever used.
    """

    journal: str
    seq: int
    next: int

    def missing(self, journal: str, seq: int) -> str:
        """Return what a journal that is there now lacks of the one that this was written for; empty: nothing."""
        if journal != self.journal:
            return f"this is another journal than the robot's, which had {self.seq} events"
        if seq < self.seq:
            return f"the journal ends at event {seq}, and had got as far as {self.seq}"
        return ""


def read_checkpoint(path: Path) -> JournalCheckpoint | None:
    """Return the anchor, or None where there is none yet. Raises ``VaultDamagedError``."""
    try:
        stored = json.loads(read_regular(path))
        return JournalCheckpoint(str(stored["journal"]), int(stored["seq"]), int(stored["next"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise VaultDamagedError(
            f"{path.name} cannot be read, so it is not certain that the robot's journal is the newest",
            hint="restore it from a backup, or, once you are sure of the journal, remove it",
        ) from None


def write_checkpoint(path: Path, anchor: JournalCheckpoint) -> None:
    """Replace the anchor durably. Raises ``JournalUnwritableError``."""
    try:
        replace_file(path, json.dumps(asdict(anchor), sort_keys=True).encode())
    except OSError as error:
        raise JournalUnwritableError(f"{path.name} cannot be written: {error.strerror}") from error
