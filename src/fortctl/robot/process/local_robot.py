"""Start the robot on this machine, reach it over its socket, and kill it in a panic (adapter)."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fortctl.errors import ConflictError, FortctlError, RobotUnreachableError, error_from_json
from fortctl.robot.process.owner_lock import Owner, last_owner, owner_of, stray
from fortctl.robot.process.proc import peer_uid, process_start_time, process_state
from fortctl.secret import Secret, redact
from fortctl.system.files import open_regular

if TYPE_CHECKING:
    import subprocess

SOCKET_NAME = "socket"
START_LOCK = "bringup.lock"
_ANSWER_LIMIT = 8 * 1024 * 1024
# sun_path holds 108 bytes on Linux and 104 elsewhere, the final NUL included.
_SOCKET_PATH_LIMIT = 100


@contextmanager
def short_socket_path(folder: Path) -> Iterator[str]:
    """Yield a path to the folder's socket that fits into ``sun_path`` whatever the length of HOME (unix(7))."""
    path = str(folder / SOCKET_NAME)
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


def query(folder: Path, request: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
    """Send one request to the running robot over its socket, and return its answer.

    Args:
        folder: the robot's folder.
        request: ``{"op": "status" | "cycles" | "wake" | "reload" | "halt", …}``.
        timeout_s: seconds for the whole exchange.

    Raises:
        RobotUnreachableError: no robot answers in time.
        FortctlError: the error that the robot returned, as its class.
    """
    import socket

    deadline = time.monotonic() + timeout_s
    received = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            with short_socket_path(folder) as path:
                connection.connect(path)
            if peer_uid(connection) not in (os.getuid(), 0):
                raise RobotUnreachableError("the robot's socket belongs to another user")
            connection.sendall(json.dumps(dict(request)).encode() + b"\n")
            while not received.endswith(b"\n"):
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                chunk = connection.recv(65536)
                if not chunk or len(received) > _ANSWER_LIMIT:
                    break
                received += chunk
    except OSError as error:
        raise RobotUnreachableError(f"the robot does not answer on its socket ({type(error).__name__})") from None
    if not received.endswith(b"\n"):
        raise RobotUnreachableError("the robot closed the connection in the middle of its answer")
    try:
        answer: dict[str, Any] = json.loads(received)
        if answer.get("ok"):
            return dict(answer.get("data") or {})
        refusal = error_from_json(answer.get("error") or {})
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise RobotUnreachableError("the process that answers on the robot's socket is not a robot") from None
    raise refusal


@dataclass(frozen=True)
class LocalRobot:
    """The robot of one account on this machine; implements :class:`fortctl.ports.RobotProcess`.

    Attributes:
        home: the home folder, handed to the child.
        account: the account's name.
        folder: ``HOME/robots/ACCOUNT``.
    """

    home: Path
    account: str
    folder: Path

    def owner(self) -> Owner | None:
        owner = owner_of(self.folder)
        # A robot keeps running if its home is removed or its lock file is damaged; then no lock shows it.
        return owner if owner is not None or last_owner(self.folder) else stray(self.home, self.account)

    def query(self, request: Mapping[str, Any], *, timeout_s: float = 5.0) -> dict[str, Any]:
        return query(self.folder, request, timeout_s=timeout_s)

    def wake(self) -> bool:
        """Have the robot read its mailbox now; return False if no robot listens (it polls anyway)."""
        try:
            self.query({"op": "wake"}, timeout_s=1.0)
        except FortctlError:
            return False
        return True

    def ensure_running(self, passphrase: Secret | None, *, timeout_s: float = 20.0) -> None:
        """Start the robot, not trading, unless one runs; return once it answers.

        The child has its own session, no inherited descriptors, an environment without any passphrase; the passphrase
        reaches it once, over a pipe.

        Raises:
            RobotUnreachableError: it did not come up in time.
            FortctlError: the child's own error, as its class (for example ``VaultLockedError``).
        """
        with self._start_lock(timeout_s):
            if self.owner() is not None:
                self._await_answer(timeout_s)
                return
            import subprocess

            child = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                close_fds=True,
                start_new_session=True,
                cwd="/",
                env=child_environment(os.environ),
            )
            self._hand_over(child, passphrase)
            self._await_ready(child, timeout_s)

    def is_stopped(self, owner: Owner) -> bool:
        """Return whether it was stopped (SIGSTOP, a debugger): it answers nobody."""
        return process_state(owner.pid) in ("T", "t")

    def kill(self, owner: Owner) -> bool:
        """SIGKILL the owner if it is still that very process. True when the lock is free afterwards."""
        if process_start_time(owner.pid) == owner.started:
            try:
                os.kill(owner.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            if self.owner() is None:
                return True
            time.sleep(0.005)
        return False

    def _command(self) -> Sequence[str]:
        # -P keeps the current folder out of sys.path, so that nobody's fortctl.py is imported by accident.
        return (
            *(sys.executable, "-P", "-m", "fortctl"),
            *("--home", str(self.home), "--account", self.account, "--no-input"),
            *("robot", "run", "--brought-up"),
        )

    @contextmanager
    def _start_lock(self, timeout_s: float) -> Iterator[None]:
        descriptor = open_regular(self.folder / START_LOCK, os.O_RDWR | os.O_CREAT)
        try:
            deadline = time.monotonic() + timeout_s
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise ConflictError("another command is bringing the robot up and does not finish") from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(descriptor)

    @staticmethod
    def _hand_over(child: subprocess.Popen[bytes], passphrase: Secret | None) -> None:
        assert child.stdin is not None
        try:
            if passphrase is not None:
                child.stdin.write(passphrase.reveal_bytes())
            child.stdin.close()
        except BrokenPipeError:
            pass  # the child's own answer says why it died

    def _await_ready(self, child: subprocess.Popen[bytes], timeout_s: float) -> None:
        """Read the child's one line: ``{"ok": true}`` or its error."""
        import select

        assert child.stdout is not None
        line = b""
        deadline = time.monotonic() + timeout_s
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(child.stdout.fileno(), 65536) if ready else b""
            if not chunk:
                break
            line += chunk
        child.stdout.close()
        if not line.endswith(b"\n"):
            if child.poll() is None and time.monotonic() >= deadline:
                child.kill()
            raise RobotUnreachableError("the robot did not come up", hint="see 'fortctl robot logs'")
        answer = json.loads(line)
        if not answer.get("ok"):
            raise error_from_json(answer.get("error") or {})

    def _await_answer(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.query({"op": "ping"}, timeout_s=2.0)
                return
            except RobotUnreachableError:
                if time.monotonic() > deadline or self.owner() is None:
                    raise
                time.sleep(0.05)


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a robot: everything but passphrases and what points at them."""
    return {
        name: value
        for name, value in environment.items()
        if not (name.startswith("FORTCTL_") and "PASSPHRASE" in name)
        and name not in ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "FORTCTL_JSON")
    }


def announce(answer: Mapping[str, Any]) -> None:
    """Write the child's one line to the pipe on stdout, then give the descriptors up.

    Standard input, output and error are pointed at the null device, so that the parent's pipes close.
    """
    try:
        os.write(1, (redact(json.dumps(dict(answer))) + "\n").encode())
    except OSError:
        pass
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
