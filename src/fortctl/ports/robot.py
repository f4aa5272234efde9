"""One account's robot on this machine: its process, and its panic latch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from fortctl.secret import Secret


class LatchGuard(Protocol):
    """The panic latch as the robot sees it: once it is set, no order leaves (robot.md, rule 6)."""

    def is_latched(self) -> bool: ...

    def placing(self) -> AbstractContextManager[bool]:
        """Hold the latch's shared lock while an order is sent; yield False if latched, in which case send nothing."""


class Latch(LatchGuard, Protocol):
    """The panic latch as commands see it."""

    def read(self) -> dict[str, Any]:
        """Return the latch's content; empty if it is not set."""

    def set(self, facts: Mapping[str, Any]) -> None:
        """Set the latch durably."""

    def update(self, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Change the latch's content; concurrent changes follow one another."""

    def clear(self) -> None:
        """Lift the latch (``panic-clear``)."""

    def cleared(self) -> dict[str, Any] | None:
        """Return the content of a latch that was lifted since the robot's last start, or None."""

    def forget_cleared(self) -> None:
        """Delete what :meth:`cleared` returns."""

    def drain_placers(self, timeout_s: float) -> bool:
        """Wait until no order is being sent; return False if it takes longer."""


class RobotOwner(Protocol):
    """The process that holds an account's lock."""

    @property
    def pid(self) -> int: ...

    @property
    def host(self) -> str: ...


class RobotProcess(Protocol):
    """The robot of one account on this machine."""

    def owner(self) -> RobotOwner | None:
        """Return the process that runs the robot, or None."""

    def query(self, request: Mapping[str, Any], *, timeout_s: float = 5.0) -> dict[str, Any]:
        """Send a request to the running robot and return its answer.

        Raises:
            RobotUnreachableError: no robot answers.
            FortctlError: the robot's own error.
        """

    def wake(self) -> bool:
        """Make the robot read its mailbox now; return whether it was reached."""

    def ensure_running(self, passphrase: Secret | None, *, timeout_s: float = 20.0) -> None:
        """Start the robot unless one runs, and return once it answers; it does not trade yet."""

    def is_stopped(self, owner: Any) -> bool:
        """Return whether the process was suspended (SIGSTOP), and so cannot answer."""

    def kill(self, owner: Any) -> bool:
        """Kill the process (SIGKILL) if it is still the same one; return whether its lock is free afterwards."""
