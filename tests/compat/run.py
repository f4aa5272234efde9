"""Foreign clients, unchanged, against the paper exchange (``make compat``).

Each client has a virtual environment of its own under ``.compat``, made from its lock file, and its own pytest run. The
exchanges that they talk to write down every request; from that log it is checked that no call, method or stream of the
exchange went unused, and ``--write`` renews the table in ``docs/paper-exchange.md``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CLIENTS = ("sdk", "ccxt", "python_binance")
# Run only when asked for: it installs a whole bot, and trades for minutes.
BESIDE = ("freqtrade",)


def environment(client: str) -> Path:
    """Return the interpreter of a client's virtual environment, made anew when its lock has changed."""
    lock, folder = HERE / f"with_{client}" / "requirements.txt", ROOT / ".compat" / client
    stamp, digest = folder / "lock.sha256", hashlib.sha256(lock.read_bytes()).hexdigest()
    python = folder / "bin" / "python"
    if not stamp.is_file() or stamp.read_text() != digest:
        # A copied interpreter cannot be executed while a process that the other thread forks holds it open for writing.
        venv.create(folder, with_pip=True, clear=True, symlinks=os.name == "posix")
        words = ("install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", str(lock))
        subprocess.run([str(python), "-m", "pip", *words], check=True)
        stamp.write_text(digest)
    return python


def run(client: str, log: Path) -> tuple[str, int, str]:
    """Run a client's tests; return its name, the exit code and what pytest said."""
    python, folder = environment(client), HERE / f"with_{client}"
    settings = {
        **os.environ,
        "FORTCTL_UNDER_TEST": sys.executable,
        "COMPAT_LOG": str(log),
        "PYTHONPATH": os.pathsep.join((str(folder), str(HERE.parent))),
    }
    words = ("-m", "pytest", "-c", str(HERE / "pytest.ini"), "--rootdir", str(HERE), "--confcutdir", str(HERE))
    done = subprocess.run([str(python), *words, str(folder)], env=settings, capture_output=True, text=True, check=False)
    return client, done.returncode, done.stdout + done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=CLIENTS + BESIDE, help="one client; the log is then not judged")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/paper-exchange.md")
    asked = parser.parse_args()
    clients = (asked.only,) if asked.only else CLIENTS
    failed = False
    with tempfile.TemporaryDirectory(prefix="compat-") as name:
        with ThreadPoolExecutor(max_workers=2) as pool:
            for client, code, output in pool.map(lambda one: run(one, Path(name)), clients):
                print(f"== {client}: {'failed' if code else 'passed'}\n{output.strip()}", flush=True)
                failed = failed or bool(code)
        if not asked.only:
            import coverage_table

            missing = coverage_table.judge(Path(name), ROOT / "docs" / "paper-exchange.md", write=asked.write)
            for one in missing:
                print(f"nothing called {one}")
            failed = failed or bool(missing)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
