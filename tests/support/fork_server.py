"""Run commands as processes that need not import the product first.

A server process imports fortctl and all that a command may load, and forks for each command. The fork is a process like
any other, with its own number, arguments, environment, folder and standard streams; it runs ``fortctl/__main__.py`` as
``python -m fortctl`` does and ends as an interpreter ends. It saves the start of the interpreter and the imports,
which cost more than most commands. What has to see a real start (the imports, the command line in ``/proc``, variables
that the interpreter reads) starts a process: :meth:`harness.Shell.argv`.
"""

from __future__ import annotations

import array
import atexit
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


def read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


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
    os.chdir(request["folder"])
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
    return words


def main() -> NoReturn:
    gc.disable()
    import_everything()
    gc.freeze()
    gc.enable()
    words = serve(sys.argv[1])
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
            [sys.executable, str(Path(__file__).resolve()), self._address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
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
        request = {"words": list(words), "environment": dict(environment), "folder": os.getcwd()}
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(self._address)
            pipes = [os.pipe(), os.pipe(), os.pipe()]
            theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
            ours = [pipes[0][1], pipes[1][0], pipes[2][0]]
            try:
                socket.send_fds(connection, [json.dumps(request).encode()], theirs)
            finally:
                for descriptor in theirs:
                    os.close(descriptor)
            pid = json.loads(connection.recv(REQUEST_BYTES))
            try:
                out, err = _exchange(ours, data or b"", timeout_s)
                connection.settimeout(timeout_s)
                status = json.loads(connection.recv(REQUEST_BYTES))
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(words), timeout_s) from None
            return subprocess.CompletedProcess(list(words), status, out, err)


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
