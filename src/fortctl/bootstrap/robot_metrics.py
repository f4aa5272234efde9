"""Wires a robot's metrics: what is read from where, and where Prometheus asks."""

from __future__ import annotations

import logging
import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from fortctl import __version__
from fortctl.config.settings import METRICS_LISTEN
from fortctl.robot.process.crash_reports import listed
from fortctl.robot.process.metrics import Meter, Reading, exposition
from fortctl.robot.process.metrics_server import MetricsEndpoint

if TYPE_CHECKING:
    from fortctl.bootstrap.container import Container
    from fortctl.exchange.connection_pool import ConnectionPool
    from fortctl.robot.control.robot_vault import RobotVault
    from fortctl.robot.trading.runner import Runner


class RobotMetrics:
    """The metrics page of one robot process.

    Args:
        wiring, box, runner, connections, meter, log: as named.
    """

    def __init__(
        self,
        wiring: Container,
        box: RobotVault,
        runner: Runner,
        connections: ConnectionPool,
        meter: Meter,
        log: logging.Logger,
    ) -> None:
        self._wiring = wiring
        self._box = box
        self._runner = runner
        self._connections = connections
        self._meter = meter
        self._log = log
        self._began = wiring.clock.now_ms() / 1000
        self._endpoint = MetricsEndpoint(self.page)

    async def apply(self) -> None:
        """Listen where the configuration says; a robot trades whether or not it can."""
        address = self._wiring.settings.get(METRICS_LISTEN)
        try:
            await self._endpoint.move(address)
        except OSError as error:
            self._log.error("metrics: nobody can ask at %s: %s", address, error.strerror or type(error).__name__)

    async def close(self) -> None:
        await self._endpoint.close()

    def page(self) -> str:
        runner, now = self._runner, self._wiring.clock.now_ms()
        key = self._box.key()
        born = key.card.created_at if key is not None else None
        last = runner.book.last_at
        return exposition(
            Reading(
                account=self._wiring.account,
                version=__version__,
                status=runner.status(),
                key_age=None if born is None else max(0.0, (now - born) / 1000),
                last_event_age=max(0.0, (runner.robot.exchange_now() - last) / 1000) if last else None,
                heard_age=runner.robot.silent_for(),
                stuck=runner.robot.stuck_for(),
                weight=self._connections.weight_used,
                incidents=len(listed(self._wiring.robot_home.path)),
                process=(resident_bytes(), _cpu_seconds(), self._began),
            ),
            self._meter,
        )


def resident_bytes() -> int:
    """Return this process's resident memory now (proc(5)); where there is no ``/proc``, the most it ever was."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
