"""The metrics page of one robot: reads the values when Prometheus asks."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fortctl import __version__
from fortctl.robot.core.status import RobotFacts
from fortctl.robot.process.crash_reports import listed
from fortctl.robot.process.metrics import Meter, Reading, exposition

if TYPE_CHECKING:
    from fortctl.ports import Clock


class MetricsPage:
    """Makes the page.

    Args:
        account: the account's name.
        folder: the robot's folder, which holds its incidents.
        facts: returns what the robot knows now.
        key_added_at: returns when the key was added (ms since the epoch), or None without a key.
        weight_used: returns the request weight used in this minute, or None if the exchange has not said.
        meter: what the process counted.
        clock: the clock.
    """

    def __init__(
        self,
        *,
        account: str,
        folder: Path,
        facts: Callable[[], RobotFacts],
        key_added_at: Callable[[], int | None],
        weight_used: Callable[[], int | None],
        meter: Meter,
        clock: Clock,
    ) -> None:
        self._account = account
        self._folder = folder
        self._facts = facts
        self._key_added_at = key_added_at
        self._weight_used = weight_used
        self._meter = meter
        self._clock = clock
        self._started_s = clock.now_ms() / 1000

    def text(self) -> str:
        """Return the page in Prometheus' text format."""
        facts, now = self._facts(), self._clock.now_ms()
        added_at, rights_at = self._key_added_at(), facts.key.rights_at
        return exposition(
            Reading(
                account=self._account,
                version=__version__,
                facts=facts,
                key_age=None if added_at is None else max(0.0, (now - added_at) / 1000),
                rights_age=None if rights_at is None else max(0.0, (now - rights_at) / 1000),
                weight=self._weight_used(),
                incidents=len(listed(self._folder)),
                process=(resident_bytes(), _cpu_seconds(), self._started_s),
            ),
            self._meter,
        )


def resident_bytes() -> int:
    """Return this process's resident memory now (proc(5)); without ``/proc``, the most it ever was."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
