"""How many exchanges and robots a run starts, and what they cost: ``FORTCTL_COUNT_STARTS=1 make test``.

Forks (:mod:`support.fork_server`) are counted apart. ``FORTCTL_COUNT_STARTS=homes`` also lists the home of each, which
contains the name of its test.

A thread of pytest's main process looks through ``/proc`` ten times a second for processes that carry the run's mark in
their environment. Exchanges and robots live long enough to be seen each time; of the short commands most are missed.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

from support.fork_server import FORKED

ASKED = "FORTCTL_COUNT_STARTS"
MARK = "TEST_RUN_OF_FORTCTL"
INTERVAL_S = 0.1
TICKS = os.sysconf("SC_CLK_TCK")


def kind_of(argv: list[str]) -> str:
    """Return what a process is: exchange, robot, command, or nothing of ours."""
    if "fortctl" not in argv:
        return ""
    words = set(argv)
    if {"paper", "serve"} <= words:
        return "exchange"
    return "robot" if {"robot", "run"} <= words else "command"


class StartCounter:
    """Counts until it is stopped.

    Attributes:
        kinds: process (its number and start time) → its kind.
        seconds: the same → its processor time when it was last seen.
        homes: the same → the home that its command line names.
    """

    def __init__(self) -> None:
        self.kinds: dict[tuple[int, str], str] = {}
        self.seconds: dict[tuple[int, str], float] = {}
        self.homes: dict[tuple[int, str], str] = {}
        self._mark = f"{MARK}={os.getpid()}".encode()
        os.environ[MARK] = str(os.getpid())
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> str:
        """Return the counts as a line."""
        self._done.set()
        self._thread.join()
        counts = Counter(self.kinds.values())
        seconds: Counter[str] = Counter()
        for process, spent in self.seconds.items():
            seconds[self.kinds[process]] += spent
        kinds = ("exchange", "robot", "command", "forked robot", "forked command")
        line = ", ".join(f"{counts[kind]} {kind}s ({seconds[kind]:.0f} s)" for kind in kinds)
        if os.environ[ASKED] != "homes":
            return line
        listed = (f"{kind} {self.homes[one]}" for one, kind in self.kinds.items() if "command" not in kind)
        return "\n".join([line, *sorted(listed)])

    def _watch(self) -> None:
        strangers: set[tuple[int, str]] = set()
        while not self._done.wait(INTERVAL_S):
            for entry in Path("/proc").glob("[0-9]*"):
                with suppress(OSError, IndexError):
                    self._note(entry, strangers)

    def _note(self, entry: Path, strangers: set[tuple[int, str]]) -> None:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
        process = int(entry.name), fields[19]
        if process in strangers:
            return
        if process not in self.kinds:
            argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            kind = kind_of(argv)
            environment = (entry / "environ").read_bytes().split(b"\0") if kind else []
            if self._mark not in environment:
                # Between fork and exec a process still looks like its parent: one that is young is looked at again.
                if self._age(fields[19]) > 1:
                    strangers.add(process)
                return
            self.kinds[process] = f"forked {kind}" if f"{FORKED}=1".encode() in environment else kind
            self.homes[process] = argv[argv.index("--home") + 1] if "--home" in argv else ""
        self.seconds[process] = (int(fields[11]) + int(fields[12])) / TICKS

    def _age(self, started: str) -> float:
        return float(Path("/proc/uptime").read_text().split()[0]) - int(started) / TICKS
