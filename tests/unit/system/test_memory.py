"""What was forgotten is no longer in the process's memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: it copies secrets about as libraries do, forgets them, and looks for them in its own memory.
PROGRAM = """
import base64, ctypes, json, os, sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
sys.path[:0] = json.loads(os.environ["FOLDERS"])
from fortctl.system.memory import guard_memory, scrub
from fortctl.model import KeyType
from fortctl.secret import Secret
from fortctl.keys.generation import generate_pair
from support.memory_image import image, places

def random_key():
    return base64.b64encode(os.urandom(48)).decode().replace("+", "x").replace("/", "y")

kind, listed = sys.argv[1], Path(sys.argv[2])
kept, api_key = random_key(), random_key()
text = random_key() if kind == "hmac" else generate_pair(KeyType(kind))[0].reveal()
private = [text]
if kind == "ed25519":
    private = [text.splitlines()[1][22:]]
    load_pem_private_key(text.encode(), None).sign(b"x")
elif kind == "rsa":
    private = text.splitlines()[2:-1]
    load_pem_private_key(text.encode(), None).sign(b"x", PKCS1v15(), SHA256())
copies = [json.dumps({"api_key": api_key, "secret": text, "at": number}) for number in range(20)]
copies += [api_key[5:20], text[-60:-45], text.encode()]
headers = {"X-MBX-APIKEY": api_key, "kept": kept}
del copies[::2]
guard_memory(lock=True)
listed.write_text(json.dumps([api_key, *private]))
cleaned = scrub([Secret(api_key), Secret(text), Secret(kept)], [Secret(kept)])
assert headers["kept"] == kept, "what stays in use was hit"
if os.geteuid() != 0:
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # this test alone lifts the guard, to look
found = image("self")
# The list is read after the image was taken.
left = places(found, json.loads(listed.read_text()))
print(json.dumps({"cleaned": cleaned, "left": left, "kept": places(found, [kept])}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc/self/mem")
@pytest.mark.parametrize("kind", ["hmac", "ed25519", "rsa"])
def test_every_copy_is_overwritten(kind: str, tmp_path: Path) -> None:
    environment = {**os.environ, "FOLDERS": json.dumps(sys.path)}
    words = [sys.executable, "-c", PROGRAM, kind, str(tmp_path / "secrets")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["cleaned"] >= 12
    assert told["left"] == 0 and told["kept"] > 50, "and the search finds what is there"
