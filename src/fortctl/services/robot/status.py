"""Read the state of a robot without starting a process or unlocking a vault."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fortctl.errors import RobotUnreachableError

if TYPE_CHECKING:
    from fortctl.ports import Latch, RobotProcess

Status = dict[str, Any]


class RobotStatusReader:
    """Reads one robot.

    Args:
        process: the robot's process on this machine.
        latch: its latch.
        offline: returns the status that the robot's journal holds, for when no robot runs.
        report: returns what the robot earned according to its journal; takes the last price if it is known.
        key: returns the robot's key as its card in the mailbox shows it, unchecked, or None.
    """

    def __init__(
        self,
        process: RobotProcess,
        latch: Latch,
        offline: Callable[[], Status],
        key: Callable[[], Mapping[str, Any] | None],
        report: Callable[[str, str | None], dict[str, Any]],
    ) -> None:
        self._process = process
        self._latch = latch
        self._offline = offline
        self._key = key
        self._report = report

    def status(self) -> Status:
        """Return the ``robot{…}`` of ``robot status --json``; ``pid`` is None when no robot runs."""
        owner = self._process.owner()
        if owner is not None:
            try:
                status = self._process.query({"op": "status"})
            except RobotUnreachableError as error:
                if self._process.owner() is None:
                    return self.status()
                status = {**self._offline(), "state": "unreachable", "reason": error.message}
            return {**status, "pid": owner.pid, "host": owner.host, "key": self._key()}
        status = {**self._offline(), "pid": None, "host": None, "key": self._key()}
        if self._latch.is_latched():
            status.update(state="latched", reason="panic", since=self._latch.read().get("at"))
        return status

    def report(self, by: str) -> dict[str, Any]:
        """Return what the robot earned: ``{by, rows[], totals{}}``, by ``cycle``, ``day`` or ``symbol``.

        The inventory is valued at the running robot's last price.
        """
        price = None
        if self._process.owner() is not None:
            with contextlib.suppress(RobotUnreachableError):
                price = self._process.query({"op": "status"}).get("price")
        return self._report(by, price)

    def cycles(self) -> list[dict[str, Any]]:
        if self._process.owner() is not None:
            found: list[dict[str, Any]] = self._process.query({"op": "cycles"})["cycles"]
            return found
        offline: list[dict[str, Any]] = self._offline().get("cycle_list", [])
        return offline
