"""A latch over restart, reinstallation and reboot: a service manager's rules, as the unit's text has them."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from pathlib import Path

from fortctl.robot.process.systemd_unit import NO_RESTART
from support.harness import Shell

CONFIGURE = ("robot", "configure", "--symbol", "BTCUSDT", "--levels", "2", "--step", "0.3", "--take-profit", "0.3")


class Service:
    """What systemd would do with a unit (systemd.service(5), Restart= and RestartPreventExitStatus=).

    Attributes:
        codes: how each start ended.
    """

    def __init__(self, unit: Path, environment: dict[str, str]) -> None:
        lines = [line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line and line[0] != "#"]
        said = dict(lines)
        assert said["Restart"] == "on-failure" and "SuccessExitStatus" not in said
        self._argv = shlex.split(said["ExecStart"])
        self._final = {int(code) for code in said["RestartPreventExitStatus"].split()}
        self._environment = environment
        self.codes: list[int] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set() and len(self.codes) < 10:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._environment,
            )
            code = self._process.wait()
            self.codes.append(code)
            if code == 0 or code in self._final:
                return

    def stop(self) -> None:
        self._stopped.set()
        self._process.terminate()
        self._thread.join(60)

    def ended(self) -> list[int]:
        """Wait until it starts nothing any more; return how each start ended."""
        self._thread.join(60)
        assert not self._thread.is_alive(), f"it runs on: {self.codes}"
        return self.codes


def test_a_latched_robot_stays_off(keyed: Shell, tmp_path: Path) -> None:
    keyed.environment["XDG_CONFIG_HOME"] = str(tmp_path / "units")
    keyed.environment.pop("XDG_RUNTIME_DIR", None)
    keyed.ok(*CONFIGURE, "--order-quote", "50")
    unit = Path(keyed.ok("robot", "service", "install", "--user")["path"])
    end_the_robot(keyed)
    service = Service(unit, keyed.environment)
    keyed.await_status(lambda status: status["pid"] is not None)
    keyed.ok("robot", "start")
    keyed.await_status(lambda status: status["orders_open"] == 2)
    assert keyed.run("panic-disconnect", "--yes").code == 12
    codes = service.ended()
    assert codes[-1] in NO_RESTART and len(codes) <= 2, "at most it was killed, came back, and saw the latch"
    latch = keyed.home / "robots" / "default" / "latch"
    written = latch.read_bytes()
    # A reboot: the service is started once more.
    assert Service(unit, keyed.environment).ended() == [8]
    # The service is installed anew.
    assert keyed.run("robot", "service", "uninstall", "--user").doc["changed"] and not unit.exists()
    assert keyed.run("robot", "service", "install", "--user").doc["changed"]
    assert Service(unit, keyed.environment).ended() == [8]
    status = keyed.status()
    assert (status["state"], status["pid"]) == ("latched", None) and latch.read_bytes() == written
    # What only a person can mend.
    keyed.ok("panic-clear", "--confirm", "default")
    back = Service(unit, keyed.environment)
    try:
        status = keyed.await_status(lambda one: one["pid"] is not None and one.get("hold"))
        assert status["hold"][0].startswith("PANIC") and back.codes == []
    finally:
        back.stop()


def end_the_robot(shell: Shell) -> None:
    """End the robot that a command brought up, and nothing else of the home."""
    os.kill(shell.status()["pid"], signal.SIGTERM)
    shell.await_status(lambda status: status["pid"] is None)
