"""The story with known keys: no piece of a secret comes out anywhere but the paper exchange's own state."""

from __future__ import annotations

import json
import os
from pathlib import Path

from fortctl.demo.checks import contains_secret
from support.harness import Shell

CONFIGURE = (
    *("robot", "configure", "--symbol", "BTCUSDT", "--levels", "3", "--step", "0.3"),
    *("--take-profit", "0.3", "--order-quote", "50", "-vv"),
)


def processes(home: Path) -> bytes:
    """Return command lines and environments of every process that names this home."""
    found = b""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
            if str(home).encode() in line and int(folder.name) != os.getpid():
                found += line + (folder / "environ").read_bytes()
        except (OSError, ValueError):
            continue
    return found


def test_no_secret_comes_out(ready: Shell, tmp_path: Path) -> None:
    secrets: list[str] = []
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    ready.environment["TMPDIR"] = str(temporary)

    def made(name: str, permissions: str, *more: str) -> str:
        text = ready.paper_key(name, permissions, *more)
        ready.transcript.clear()  # the paper exchange's page shows a secret once, as Binance does
        key = json.loads(text)
        secrets.extend([key["api_key"], key.get("secret_key") or key["private_key"].splitlines()[1]])
        return text

    outputs: list[str] = []

    def typed(*words: str, stdin: str | None = None, modes: tuple[bool, ...] = (True, False)) -> None:
        for json_mode in modes:
            ran = ready.run(*words, "-vv", stdin=stdin, json_mode=json_mode)
            outputs.extend([ran.out, ran.err])
        outputs.append(processes(ready.home).decode("utf-8", "replace"))

    site, robot = made("site-1", "reading"), made("robot-1", "reading,spot_trading")
    swapped = json.loads(site)
    swapped["api_key"], swapped["secret_key"] = swapped["secret_key"], swapped["api_key"]
    typed("keys", "add", "--role", "site", "--input", "-", stdin=json.dumps(swapped))
    typed("keys", "add", "--role", "site", "--input", "-", stdin=site[:-2])
    typed("keys", "add", "--role", "site", "--input", "-", stdin=robot)
    typed("keys", "add", "--role", "site", "--input", "-", stdin=site)
    typed("keys", "add", "--role", "robot", "--input", "-", stdin=robot)
    typed(*CONFIGURE)
    typed("robot", "start")
    for words in (("keys", "list"), ("keys", "verify"), ("robot", "status"), ("robot", "cycles"), ("doctor",)):
        typed(*words)
    typed("paper", "fault", "set", "code-1000", "--count", "2")
    typed("account", "balances")
    typed("account", "orders")
    # Faults force tracebacks; the system refuses in the middle of it, too.
    for fault in ("cut-body", "truncated"):
        ready.ok("paper", "fault", "set", fault, "--count", "4")
        typed("keys", "verify", modes=(False,))
        ready.ok("paper", "fault", "clear")
    (ready.home / "audit.jsonl").rename(ready.home / "away")
    (ready.home / "audit.jsonl").mkdir()
    typed("keys", "change", "--role", "site", "--input", "-", stdin=site, modes=(False,))
    (ready.home / "audit.jsonl").rmdir()
    (ready.home / "away").rename(ready.home / "audit.jsonl")
    typed("keys", "change", "--role", "robot", "--input", "-", stdin=made("robot-2", "reading,spot_trading"))
    typed(
        "keys",
        "change",
        "--role",
        "robot",
        "--input",
        "-",
        stdin=made("ed", "reading,spot_trading", "--type", "ed25519"),
    )
    typed("keys", "rotate", "--role", "robot", "--mode", "overlap")
    typed("keys", "rotate", "--finish", "--input", "-", stdin=made("robot-3", "reading,spot_trading"))
    typed("keys", "rotate", "--status")
    typed("keys", "rotate", "--abort")
    ready.ok("paper", "accounts", "create", "sub", "--sub-of", "default", "--email", "sub@paper.example")
    appoint = ("issuer", "set", "sub-account", "--email", "sub@paper.example", "--input", "-")
    typed(*appoint, stdin=made("master", "reading,spot_trading"))
    typed("issuer", "status")
    assert list(ready.home.glob("operations.sqlite")) and list(ready.home.glob("issuer/vault.toml"))
    ready.ok("paper", "keys", "delete", "robot-3")
    typed("keys", "verify")
    typed("robot", "logs")
    typed("audit", "log")

    def written() -> list[Path]:
        found = [path for folder in (ready.home, temporary) for path in folder.rglob("*") if path.is_file()]
        return [path for path in found if ready.home / "paper" not in path.parents]

    during = written()
    leaks = [str(path) for path in during for secret in secrets if contains_secret(secret, path.read_bytes())]
    typed("panic-disconnect", "--yes")
    after = written()
    leaks += [str(path) for path in after for secret in secrets if contains_secret(secret, path.read_bytes())]
    shown = "\n".join(outputs).encode()
    leaks += [f"output ({secret[:2]}…)" for secret in secrets if contains_secret(secret, shown)]
    assert len(secrets) == 12 and len(during) > 8 and len(shown) > 10_000
    assert not leaks, leaks
    assert b"Traceback" in shown


def test_the_search_finds_what_is_there() -> None:
    """The canary sings: every writing of a secret is found."""
    import base64

    secret = "q8Zr5LxT2mWv9KpYc7NdHs4BgFj3RtQe"
    for text in (
        f"x{secret}x",
        secret[5:13],
        secret[::-1],
        secret.encode().hex(),
        base64.b64encode(b"a" + secret.encode()).decode(),
        base64.b64encode(b"ab" + secret.encode()).decode(),
        base64.b64encode(b"abc" + secret.encode()).decode(),
    ):
        assert contains_secret(secret, text.encode()), text
    assert not contains_secret(secret, b"nothing to see here " * 50)
