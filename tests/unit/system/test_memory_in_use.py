"""Overwriting what a process forgot never touches what it uses: thousands of times, and not beside another thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# The places hold freed copies, which whoever allocates that much is given next: the overwriting itself, above all.
AGAIN_AND_AGAIN = """
import base64, ctypes, json, os, sys
sys.path[:0] = json.loads(os.environ["FOLDERS"])
from fortctl.system.memory import SecretScrubber, guard_memory
from fortctl.secret import Secret

guard_memory(lock=True)
text = base64.b64encode(os.urandom(48)).decode()
traces = SecretScrubber([Secret(text)])
pattern, wiped = traces._spans[0][0], 0
for _round in range(100):
    raw = [bytearray(text[cut:], "ascii") + bytes(more) for cut in range(0, 48, 4) for more in range(0, 64, 8)]
    at = [ctypes.addressof(ctypes.c_char.from_buffer(one)) for one in raw]
    places = [(address, pattern + number // 8 * 4, 64 - number // 8 * 4) for number, address in enumerate(at)]
    while raw:
        raw.pop()
        wiped += bool(traces._wipe(*places.pop()))
traces.overwrite()
print(json.dumps({"wiped": wiped}))
"""

BESIDE = """
import base64, json, os, sys, threading
sys.path[:0] = json.loads(os.environ["FOLDERS"])
from fortctl.system.memory import SecretScrubber, guard_memory
from fortctl.secret import Secret

def churn():
    while not over.is_set():
        raw = bytearray(os.urandom(8)) * 12
        assert raw[:8] == raw[-8:], "somebody wrote into it"

guard_memory(lock=True)
text = base64.b64encode(os.urandom(48)).decode()
held = [text.encode() + bytes([number]) for number in range(20)]
over, cleaned = threading.Event(), []
threads = [threading.Thread(target=churn) for _number in range(3)]
for thread in threads:
    thread.start()
try:
    for _round in range(3):
        traces = SecretScrubber([Secret(text)])
        traces.find()
        cleaned.append(traces.overwrite())
        assert all(one[:64] == text.encode() for one in held)
finally:
    over.set()
    for thread in threads:
        thread.join()
traces = SecretScrubber([Secret(text)])
traces.find()
cleaned.append(traces.overwrite())
print(json.dumps({"cleaned": cleaned}))
"""

# The robot's own loop serves its metrics, and somebody has asked: what it forgets then is overwritten all the same.
MEASURED = """
import asyncio, base64, json, logging, os, sys
sys.path[:0] = json.loads(os.environ["FOLDERS"])
from fortctl.robot.process.event_loop import SingleThreadLoop
from fortctl.system.memory import SecretScrubber, guard_memory
from fortctl.config.settings import Address
from fortctl.robot.process.metrics_server import MetricsServer
from fortctl.secret import Secret

async def work(host):
    endpoint = MetricsServer(lambda: "fortctl_robot_x 1\\n", logging.getLogger("test.metrics"))
    await endpoint.move(Address(host, 0))
    reader, writer = await asyncio.open_connection(sock=await connected(endpoint.port))
    writer.write(b"GET /metrics HTTP/1.1\\r\\n\\r\\n")
    assert b"fortctl_robot_x 1" in await reader.read()
    writer.close()
    text = base64.b64encode(os.urandom(48)).decode()
    held = [text.encode() + bytes([number]) for number in range(20)]
    _found, cleaned = await SecretScrubber([Secret(text)]).clean()
    await endpoint.close()
    return cleaned

async def connected(port):
    import socket
    there = socket.socket()
    there.setblocking(False)
    await asyncio.get_running_loop().sock_connect(there, ("127.0.0.1", port))
    return there

guard_memory(lock=True)
cleaned = []
for host in ("127.0.0.1", "localhost"):
    with asyncio.Runner(loop_factory=SingleThreadLoop) as loop:
        cleaned.append(loop.run(work(host)))
print(json.dumps({"cleaned": cleaned}))
"""

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc/self/mem")


def told(program: str) -> dict[str, object]:
    environment = {**os.environ, "FOLDERS": json.dumps(sys.path), "PYTHONMALLOC": ""}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@needs_proc
def test_thousands_of_places_that_are_given_out_again() -> None:
    assert told(AGAIN_AND_AGAIN)["wiped"] > 500  # type: ignore[operator]


@needs_proc
def test_nothing_is_overwritten_beside_another_thread() -> None:
    cleaned = told(BESIDE)["cleaned"]
    assert cleaned[:3] == [0, 0, 0] and cleaned[3] >= 20  # type: ignore[index]


@needs_proc
def test_metrics_over_tcp_keep_no_thread() -> None:
    assert min(told(MEASURED)["cleaned"]) >= 20  # type: ignore[call-overload]
