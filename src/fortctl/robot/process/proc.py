"""What the kernel says about processes and peers: ``/proc``, start times, socket credentials (adapter)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


def process_state(pid: int) -> str:
    """Return the kernel's one-letter state of a process (proc(5): ``T`` stopped, ``Z`` zombie), or an empty text."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0]


def process_start_time(pid: int) -> str | None:
    """Return the kernel's start time of a process, or None when there is no such process.

    Source: proc(5), field 22 of ``/proc/PID/stat``; without ``/proc``, what ``ps`` says.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        import subprocess

        shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return shown.stdout.strip() or None
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def peer_uid(connection: socket.socket) -> int:
    """Return the user id at the other end of a Unix socket (unix(7), SO_PEERCRED)."""
    import socket
    import struct

    if hasattr(socket, "SO_PEERCRED"):
        size = struct.calcsize("3i")
        _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        return int(uid)
    # LOCAL_PEERCRED (macOS, BSD): version, uid, then groups.
    data = connection.getsockopt(0, 1, 76)
    return int(struct.unpack_from("II", data)[1])


def real_uid(entry: Path) -> int:
    """Return the user that a process runs for, from its folder in ``/proc``; -1 if its status does not say.

    A process that guards its memory belongs to root in ``/proc``, but its status still names its user.
    """
    for line in (entry / "status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[1])
    return -1
