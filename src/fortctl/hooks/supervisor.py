"""Run one hook under a time limit; a program of its own, so that the limit holds also once fortctl has ended.

Usage: ``python -I -S supervisor.py SECONDS PROGRAM ARGUMENT…``. The event on standard input goes through to the program;
one JSON line on standard output says how it ended. Only the standard library is imported: it starts in milliseconds.
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
    """Run the program; return 0 once its end was told."""
    limit, argv = float(words[0]), words[1:]
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        child = subprocess.Popen(
            argv, stdin=0, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, cwd="/"
        )
    except OSError as error:
        return _tell({"exit": None, "timed_out": False, "stderr": error.strerror or "it cannot be started"})
    os.close(0)
    said, in_time = _listen(child, time.monotonic() + limit)
    if not in_time:
        _end(child)
    return _tell({"exit": child.wait(), "timed_out": not in_time, "stderr": said})


def _listen(child: "subprocess.Popen[bytes]", deadline: float) -> tuple[str, bool]:
    """Return the end of what the program complains about, and whether it ended in time."""
    assert child.stderr is not None
    pipe, tail = child.stderr.fileno(), b""
    # A grandchild may hold the pipe for ever: the program's own end counts, not the pipe's.
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


def _end(child: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except OSError:
            return
        deadline = time.monotonic() + GRACE_S
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)


def _tell(outcome: dict[str, object]) -> int:
    try:
        os.write(1, json.dumps(outcome).encode() + b"\n")
    except OSError:
        pass  # whoever asked did not wait
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
