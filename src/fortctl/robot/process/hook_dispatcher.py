"""Run the operator's hooks without holding up the robot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from fortctl.ports import HooksPort
from fortctl.system.threads import run_in_own_thread

# How long a robot that is about to end waits for its last hooks (s); they continue without it.
LAST_HOOKS_WAIT_S = 1.0


class HookDispatcher:
    """Run hooks in threads of their own, and log those that fail.

    Args:
        hooks: returns the account's hooks as the configuration in force has them.
        log: the robot's log.
    """

    def __init__(self, hooks: Callable[[], HooksPort], log: logging.Logger) -> None:
        self._hooks = hooks
        self._log = log
        self._running: set[asyncio.Future[None]] = set()

    def fire(self, event: str, payload: Mapping[str, Any]) -> None:
        """Start an event's hooks and return at once."""
        running = asyncio.ensure_future(run_in_own_thread(self._run, event, dict(payload), None))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def fire_last(self, event: str, payload: Mapping[str, Any]) -> None:
        """Start an event's hooks as the robot's last act, and wait a second for them."""
        await run_in_own_thread(self._run, event, dict(payload), LAST_HOOKS_WAIT_S)

    def _run(self, event: str, payload: Mapping[str, Any], wait_s: float | None) -> None:
        for report in self._hooks().fire(event, payload, wait_s=wait_s):
            if report.state == "failed":
                self._log.warning("the hook %s failed: %s", report.name, report.detail)
