"""One account's robot as others meet it: its process, and the latch that panic shuts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from fortctl.secret import Secret


class LatchGuard(Protocol):
    """The panic latch of one robot (robot.md, rule 6)."""

    def is_latched(self) -> bool: ...

    def placing(self) -> AbstractContextManager[bool]:
        """Hold the shared lock while an order's bytes leave; yields False when latched (then place nothing)."""


class Latch(LatchGuard, Protocol):
    """The panic latch as the operator's side sees it."""

    def read(self) -> dict[str, Any]: ...

    def set(self, facts: Mapping[str, Any]) -> None: ...

    def update(self, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Change what it says, one change at a time."""

    def clear(self) -> None: ...

    def cleared(self) -> dict[str, Any] | None:
        """Return what the latch said that was lifted since the robot last came up, or None."""

    def forget_cleared(self) -> None: ...

    def drain_placers(self, timeout_s: float) -> bool: ...


class RobotOwner(Protocol):
    """The process that holds an account's lock."""

    @property
    def pid(self) -> int: ...

    @property
    def host(self) -> str: ...


class RobotProcess(Protocol):
    """The robot of one account on this machine."""

    def owner(self) -> RobotOwner | None: ...

    def query(self, request: Mapping[str, Any], *, timeout_s: float = 5.0) -> dict[str, Any]:
        """Ask the running robot over its socket; raises ``RobotUnreachableError`` or the robot's own refusal."""

    def wake(self) -> bool: ...

    def bring_up(self, passphrase: Secret | None, *, timeout_s: float = 20.0) -> None:
        """Start the robot, not trading, unless one runs; return once it answers."""

    def is_stopped(self, owner: Any) -> bool:
        """Return whether the owner was stopped: it answers nobody."""

    def kill(self, owner: Any) -> bool:
        """SIGKILL the owner if it is still that very process; True when its lock is free afterwards."""
