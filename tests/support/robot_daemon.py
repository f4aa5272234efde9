"""A :class:`RobotDaemon` of stand-ins, of which a test replaces those that it is about."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from fortctl.robot.core.drift_settings import DriftSettings
from fortctl.robot.core.foreign_activity import ForeignSettings
from fortctl.robot.core.reconciliation import ResumeLimits
from fortctl.robot.process.daemon import DaemonEvents, DaemonSettings, RobotDaemon
from fortctl.robot.process.log_file import LogShape
from fortctl.robot.process.sd_notify import ServiceManager

SETTINGS = DaemonSettings(
    ResumeLimits(), DriftSettings(), ForeignSettings(), LogShape(), metrics=None, deadman_s=None, poll_s=5.0
)


class NoPanic:
    """No panic comes."""

    halted = False

    async def poll(self) -> bool:
        return False

    def check_deadman(self) -> None:
        return

    def set_deadman(self, deadman_s: float | None) -> None:
        return

    def handlers(self) -> Mapping[str, Any]:
        return {}


class NoCommands:
    """No command comes."""

    async def poll(self) -> int:
        return 0

    def publish(self) -> None:
        return

    def publish_if_changed(self) -> None:
        return


def robot_daemon(**changes: Any) -> RobotDaemon:
    """Return a daemon; *changes* are arguments of its constructor."""
    log: Any = SimpleNamespace(logger=logging.getLogger("test.daemon"), reshape=lambda shape: None)
    arguments: dict[str, Any] = {
        "account": "default",
        "runner": SimpleNamespace(state="stopped", robot=SimpleNamespace(limits=None, stuck_for=lambda: 0.0)),
        "commands": NoCommands(),
        "panic": NoPanic(),
        "metrics": SimpleNamespace(),
        "manager": ServiceManager({}),
        "log": log,
        "events": DaemonEvents(),
        "settings": SETTINGS,
        "read_settings": lambda: SETTINGS,
    }
    return RobotDaemon(**(arguments | changes))
