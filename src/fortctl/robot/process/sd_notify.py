"""Speak with the service manager that runs the robot (adapter). Source: sd_notify(3), sd_watchdog_enabled(3).

The protocol is one datagram of ``NAME=value`` lines to the socket that ``$NOTIFY_SOCKET`` names. Without that variable
nobody listens and nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

# A manager that is busy has a full queue for a moment; that it is ready or ends must not get lost over that.
SEND_WITHIN_S = 2.0


class ServiceManager:
    """The service manager at the other end of ``$NOTIFY_SOCKET``, or nobody.

    Args:
        environment: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are looked for.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._path = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environment) if self._path else None

    def tell(self, *, within_s: float = SEND_WITHIN_S, **fields: str) -> bool:
        """Send fields, for example ``READY="1"``; False when nobody hears them in time (which stops nothing)."""
        if not self._path.startswith(("/", "@")):
            return False
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        message = "\n".join(f"{name}={value}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.settimeout(within_s)
                line.connect(address)
                line.send(message.encode())
        except OSError:
            return False
        return True

    def ready(self, status: str) -> None:
        self.tell(READY="1", STATUS=_one_line(status))

    def alive(self, status: str) -> None:
        """Answer the watchdog."""
        # The next one comes soon: the loop must not wait for a manager that is slow to read.
        self.tell(within_s=0.0, WATCHDOG="1", STATUS=_one_line(status))

    def reloading(self) -> None:
        """The configuration is being read again; :meth:`ready` ends it (``MONOTONIC_USEC``: systemd 253 and later)."""
        self.tell(RELOADING="1", MONOTONIC_USEC=str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000))

    def stopping(self, status: str, within_s: float) -> None:
        self.tell(STOPPING="1", STATUS=_one_line(status), EXTEND_TIMEOUT_USEC=str(int(within_s * 1_000_000)))


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Return within how many seconds the watchdog wants to hear from this process, or None."""
    try:
        if int(environment.get("WATCHDOG_PID", os.getpid())) != os.getpid():
            return None
        wanted = int(environment.get("WATCHDOG_USEC", "0")) / 1_000_000
    except ValueError:
        return None
    return wanted if wanted > 0 else None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]
