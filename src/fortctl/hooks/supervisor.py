"""Run one hook under a time limit, in a process of its own, so that the limit holds even after fortctl has ended.

Usage: ``python -I -S supervisor.py SECONDS PROGRAM ARGUMENT…``. The program receives the event on standard input; one
JSON line on standard output reports how it ended. It imports the standard library only, to start in milliseconds.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time

TAIL = 400
GRACE_S = 1.0


def main(words: list[str]) -> int:
    """Run the program; return 0 once its end is reported."""
    limit, argv = float(words[0]), words[1:]
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        child = subprocess.Popen(
            argv, stdin=0, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, cwd="/"
        )
    except OSError as error:
        return _report({"exit": None, "timed_out": False, "stderr": error.strerror or "the program cannot be started"})
    os.close(0)
    stderr, in_time = _wait(child, time.monotonic() + limit)
    if not in_time:
        _kill(child)
    return _report({"exit": child.wait(), "timed_out": not in_time, "stderr": stderr})


def _wait(child: "subprocess.Popen[bytes]", deadline: float) -> tuple[str, bool]:
    """Return the end of the program's standard error, and whether the program ended in time."""
    assert child.stderr is not None
    pipe, tail = child.stderr.fileno(), b""
    # A grandchild may keep the pipe open for ever, so wait for the program to end, not for the pipe.
    while child.poll() is None:
        left = deadline - time.monotonic()
        if left <= 0:
            return tail.decode("utf-8", "replace"), False
        if pipe >= 0 and select.select([pipe], [], [], min(left, 0.02))[0]:
            chunk = os.read(pipe, 65536)
            tail = (tail + chunk)[-TAIL:]
            if not chunk:
                pipe = -1
        elif pipe < 0:
            time.sleep(min(left, 0.005))
    while pipe >= 0 and select.select([pipe], [], [], 0)[0]:
        chunk = os.read(pipe, 65536)
        tail = (tail + chunk)[-TAIL:]
        if not chunk:
            break
    return tail.decode("utf-8", "replace"), True


def _kill(child: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except OSError:
            return
        deadline = time.monotonic() + GRACE_S
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)


def _report(outcome: dict[str, object]) -> int:
    try:
        os.write(1, json.dumps(outcome).encode() + b"\n")
    except OSError:
        pass  # fortctl did not wait for the report
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
