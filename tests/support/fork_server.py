"""Run commands as processes that need not import the product first.

A server process imports fortctl and all that a command may load, and forks for each command. The fork is a process like
any other, with its own number, arguments, environment, folder and standard streams; it runs ``fortctl/__main__.py`` as
``python -m fortctl`` does and ends as an interpreter ends. It saves the start of the interpreter and the imports,
which cost more than most commands. A robot that a forked command brings up is forked too, by the server: it is no child
of the command and shares no memory with it. What has to see a real start (the imports, variables that the interpreter
reads) starts a process: :meth:`harness.Shell.argv`.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

# Read by the interpreter, the loader or a library when it is imported: a fork would not notice them.
READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "SSL_", "MALLOC_", "OPENSSL_", "AIOHTTP_")
REQUEST_BYTES = 1 << 20
# In the environment that /proc shows of each fork; the fork's own environment is the one that was asked for.
FORKED = "FORK_OF_A_TEST"
# Room for a fork's words in the place of the server's.
ROOM = "." * 8192


def read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


# -- a fork -----------------------------------------------------------------------------------------------------------


class Fork:
    """A fork that was asked for; like a :class:`subprocess.Popen`, as far as whoever started it needs.

    Args:
        address: the server's socket.
        streams: for standard input, output and error: ``PIPE`` or ``DEVNULL``.
        session: it has a session of its own.
        safe_path: as ``python -P``.
    """

    def __init__(
        self,
        address: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        folder: str,
        streams: Sequence[int],
        *,
        session: bool = False,
        safe_path: bool = False,
    ) -> None:
        self.args = list(words)
        self.returncode: int | None = None
        ours: list[int | None] = []
        theirs: list[int] = []
        for number, stream in enumerate(streams):
            if stream == subprocess.PIPE:
                reads, writes = os.pipe()
                theirs.append(writes if number else reads)
                ours.append(reads if number else writes)
            else:
                theirs.append(os.open(os.devnull, os.O_RDWR))
                ours.append(None)
        self.descriptors = ours
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {
            "words": self.args,
            "environment": dict(environment),
            "folder": folder,
            "session": session,
            "safe_path": safe_path,
        }
        try:
            self._server.connect(address)
            socket.send_fds(self._server, [json.dumps(request).encode()], theirs)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self.pid: int = json.loads(self._server.recv(REQUEST_BYTES))

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        with suppress(BlockingIOError):
            self._await_end(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code at its end. Raises TimeoutError."""
        self._await_end(timeout)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _await_end(self, timeout: float | None) -> None:
        if self.returncode is None:
            self._server.settimeout(timeout)
            self.returncode = int(json.loads(self._server.recv(REQUEST_BYTES)))
            self._server.close()


class Popen(subprocess.Popen[bytes]):
    """In the place of ``subprocess.Popen`` in a fork: a robot that it brings up is forked by the server."""

    server: tuple[str, dict[str, str]]

    def __new__(cls, args: Any, *more: Any, **named: Any) -> Any:
        address, at_start = cls.server
        ours = [sys.executable, "-P", "-m", "fortctl"]
        if more or list(args[:4]) != ours or read_at_start(named["env"]) != at_start:
            return super().__new__(cls)
        streams = [named[name] for name in ("stdin", "stdout", "stderr")]
        made = Fork(address, args[4:], named["env"], named["cwd"], streams, session=True, safe_path=True)
        for name, mode, descriptor in zip(("stdin", "stdout"), ("wb", "rb"), made.descriptors, strict=False):
            setattr(made, name, None if descriptor is None else open(descriptor, mode))  # noqa: SIM115
        return made


# -- the server --------------------------------------------------------------------------------------------------------


def import_everything() -> None:
    """Import what commands load one by one."""
    import fortctl

    for module in pkgutil.walk_packages(fortctl.__path__, "fortctl."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError):
                importlib.import_module(module.name)
    for name in ("aiohttp", "apprise", "binance", "keyring", "orjson", "psycopg", "pydantic", "tomli_w", "typer"):
        with suppress(ImportError):
            importlib.import_module(name)


def serve(path: str) -> Sequence[str]:
    """Fork for each connection until the standard input ends. Return in the fork with its words."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    print("ready", flush=True)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(listener, selectors.EVENT_READ)
    children: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for key, _events in selector.select():
            if key.fd == 0:
                os._exit(0)
            if key.fd in children:
                pid, client = children.pop(key.fd)
                selector.unregister(key.fd)
                os.close(key.fd)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with suppress(OSError):
                    client.send(json.dumps(status).encode())
                client.close()
                continue
            client, _address = listener.accept()
            request, streams = _request(client)
            if request is None:
                client.close()
                continue
            pid = os.fork()
            if pid == 0:
                selector.close()
                for descriptor in (*children, *(one.detach() for _pid, one in children.values())):
                    os.close(descriptor)
                client.close()
                listener.close()
                return _become(request, streams)
            for stream in streams:
                os.close(stream)
            ended = os.pidfd_open(pid)
            children[ended] = pid, client
            selector.register(ended, selectors.EVENT_READ)
            with suppress(OSError):
                client.send(json.dumps(pid).encode())


def _request(client: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    data, ancillary, _flags, _address = client.recvmsg(REQUEST_BYTES, socket.CMSG_SPACE(3 * 4))
    streams = array.array("i")
    for _level, _kind, received in ancillary:
        streams.frombytes(received[: len(received) - len(received) % streams.itemsize])
    return (json.loads(data) if data else None), list(streams)


def _become(request: Mapping[str, Any], streams: Sequence[int]) -> Sequence[str]:
    """Be the process that was asked for."""
    for standard, stream in enumerate(streams):
        os.dup2(stream, standard)
        os.close(stream)
    if request["session"]:
        os.setsid()
    os.chdir(request["folder"])
    if request["safe_path"]:
        del sys.path[0]
    else:
        sys.path[0] = request["folder"]
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    for name in ("stdin", "stdout", "stderr"):
        old = getattr(sys, name)
        new = open(  # noqa: SIM115 (it lives as long as the process)
            *(old.fileno(), "r" if name == "stdin" else "w"),
            encoding=old.encoding,
            errors=old.errors,
            closefd=False,
        )
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    words: Sequence[str] = request["words"]
    _name([sys.executable, *(["-P"] if request["safe_path"] else []), "-m", "fortctl", *words])
    return words


def _name(argv: Sequence[str]) -> None:
    """Have ``/proc/PID/cmdline`` show these words (proc(5): it shows the memory in which they stood at the start)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    words = b"".join(os.fsencode(word) + b"\0" for word in argv)
    if len(words) <= end - start:
        ctypes.memmove(start, words.ljust(end - start, b"\0"), end - start)


def main() -> NoReturn:
    gc.disable()
    import_everything()
    gc.freeze()
    gc.enable()
    address = sys.argv[1]
    Popen.server = address, read_at_start(os.environ)
    words = serve(address)
    subprocess.Popen = Popen  # type: ignore[misc]
    sys.argv = ["fortctl", *words]
    code: Any = 0
    try:
        runpy.run_module("fortctl", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    # As an interpreter ends, but for taking every module apart, which costs a fork more than its command.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1 if code else 0)


# -- the client --------------------------------------------------------------------------------------------------------


class ForkServer:
    """A worker's server of commands; it ends with the worker."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fortctl-forks-")
        self.environment = {name: text for name, text in os.environ.items() if not name.startswith("FORTCTL_")}
        self._address = str(Path(self._folder.name) / "socket")
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), self._address, ROOM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**self.environment, FORKED: "1"},
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n", "the server of commands does not start"
        atexit.register(self._end)

    def _end(self) -> None:
        self._server.communicate()

    def can_run(self, environment: Mapping[str, str]) -> bool:
        """Return whether a fork behaves as a process that is started with this environment."""
        return read_at_start(environment) == read_at_start(self.environment)

    def run(
        self, words: Sequence[str], environment: Mapping[str, str], data: bytes | None, timeout_s: float
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one command to its end, as :func:`subprocess.run` does; without ``data`` its input is empty.

        Raises:
            TimeoutExpired: it was killed after ``timeout_s``.
        """
        one = self.start(words, environment, [subprocess.PIPE] * 3)
        try:
            out, err = _exchange([stream for stream in one.descriptors if stream is not None], data or b"", timeout_s)
            status = one.wait(timeout_s)
        except TimeoutError:
            one.kill()
            raise subprocess.TimeoutExpired(list(words), timeout_s) from None
        return subprocess.CompletedProcess(list(words), status, out, err)

    def start(
        self, words: Sequence[str], environment: Mapping[str, str], streams: Sequence[int], *, session: bool = False
    ) -> Fork:
        """Start a process and return at once."""
        return Fork(self._address, words, environment, os.getcwd(), streams, session=session)


def _exchange(streams: Sequence[int], data: bytes, timeout_s: float) -> tuple[bytes, bytes]:
    """Write to the first stream, and read the others to their ends."""
    read: dict[int, bytearray] = {streams[1]: bytearray(), streams[2]: bytearray()}
    deadline = time.monotonic() + timeout_s
    unread = list(streams)
    with selectors.DefaultSelector() as selector:

        def end(stream: int) -> None:
            selector.unregister(stream)
            unread.remove(stream)
            os.close(stream)

        try:
            selector.register(streams[0], selectors.EVENT_WRITE)
            for stream in read:
                selector.register(stream, selectors.EVENT_READ)
            if not data:
                end(streams[0])
            while unread:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                for key, _events in selector.select(left):
                    if key.fd == streams[0]:
                        try:
                            data = data[os.write(key.fd, data[:4096]) :]
                        except BrokenPipeError:
                            data = b""
                        if not data:
                            end(key.fd)
                        continue
                    chunk = os.read(key.fd, 1 << 16)
                    read[key.fd] += chunk
                    if not chunk:
                        end(key.fd)
        finally:
            for stream in unread:
                os.close(stream)
    return bytes(read[streams[1]]), bytes(read[streams[2]])


@functools.cache
def fork_server() -> ForkServer:
    return ForkServer()


if __name__ == "__main__":
    main()
