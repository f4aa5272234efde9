"""Memory and processor time of 1, 10, 100 and 1,000 accounts in one process, over TLS, into docs/performance.md.

Each count has processes of its own: a paper exchange behind TLS (a certificate made for the run), and a fleet of as
many real runners, each with a journal (SQLite, on disk), a latch, a key and a grid of its own, over one set of
connections.
What an account costs is what the fleet's process grew by since its connections were made and before its first account.
The processor is measured over a quiet time after every robot runs and has its orders: the market trades on, and every
robot looks at each new price. Besides: one robot as ``fortctl robot run`` brings it up, beside a bare
``import binance`` with an aiohttp session.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop
from _page import arguments, facts, write_section

COUNTS, QUICK_COUNTS = (1, 10, 100, 1_000), (1, 2)
WATCH_S, QUICK_WATCH_S = 20.0, 0.5
# How long one robot trades before its memory is read.
SETTLE_S = 10.0
READY_WITHIN_S = 300.0
# An order is refused a second after it was made: a thousand at once would wait longer than that for this exchange.
STARTING_AT_ONCE = 8
SYMBOL = "BTCUSDT"
GRID = {"symbol": SYMBOL, "levels": "2", "step": "0.5", "take_profit": "0.5", "order_quote": "50"}
BARE = """
import asyncio, sys
import aiohttp, binance
async def main():
    async with aiohttp.ClientSession() as session:
        async with session.get(sys.argv[1] + "/api/v3/ping") as answer:
            await answer.read()
        for line in open("/proc/self/statm"):
            print(int(line.split()[1]) * 4096)
asyncio.run(main())
"""


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def resident_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def mib(count: float) -> float:
    return count / 1024**2


# -- the exchange: a process of its own -------------------------------------------------------------------------------


def make_certificate(folder: Path) -> None:
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fortctl benchmark")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(*private))


async def exchange(folder: Path) -> None:
    from fortctl.paper.engine.market_data import load
    from fortctl.paper.server.lifecycle import start
    from fortctl.paper.server.server import ServerOptions

    tape = load("synthetic:1", SYMBOL)
    running = await start(ServerOptions({tape.symbol.name: tape}, folder, "127.0.0.1", 0, 1.0, limits="off"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server = await asyncio.get_running_loop().create_server(running.http, "127.0.0.1", 0, ssl=context, backlog=1024)
    print(json.dumps({**running.ready, "tls": server.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.Event().wait()


# -- the fleet: a process of its own ----------------------------------------------------------------------------------


async def fleet(folder: Path, url: str, watch_s: float, keys: list[dict[str, str]]) -> None:
    from fortctl.exchange.client import BinanceExchange
    from fortctl.exchange.connection_pool import ConnectionPool
    from fortctl.exchange.rate_limiter import RateLimiter
    from fortctl.exchange.targets import _from_url
    from fortctl.model import KeyPair, KeyType
    from fortctl.robot.core.settings import parse_settings
    from fortctl.robot.storage.journal import SqliteJournal
    from fortctl.robot.storage.latch import LatchFile
    from fortctl.robot.trading.runner import Runner
    from fortctl.secret import Secret
    from fortctl.system.clock import SystemClock

    clock, connections, target = SystemClock(), ConnectionPool(), _from_url("fleet", url)
    log = logging.getLogger("fleet")
    # The exchange counts no weight here: a thousand accounts at once would be told to wait for minutes.
    limiter = RateLimiter(None, url, clock)
    limiter.set_limit(None)

    def connect(pair: Any, account: str = "") -> BinanceExchange:
        return BinanceExchange(target, pair, clock, connections=connections, account=account, limiter=limiter)

    async def uid_of(pair: KeyPair) -> int:
        """Ask as the check of a key does."""
        exchange = connect(pair)
        found = await exchange.account()
        await exchange.close()
        return found.uid

    warm = connect(None)
    await warm.last_price(SYMBOL)
    await warm.close()
    before, runners, tasks = resident(), [], []
    began = time.perf_counter()
    limit = asyncio.Semaphore(STARTING_AT_ONCE)

    async def begin(number: int, key: dict[str, str]) -> None:
        place = folder / f"a{number}"
        place.mkdir(mode=0o700)
        account = f"a{number}"
        runner = Runner(
            account=account,
            robot_id=f"{number:06x}",
            journal=SqliteJournal(place / "journal.sqlite", account=account, clock=clock),
            clock=clock,
            latch=LatchFile(place),
            connect=lambda pair: connect(pair, account),
            log=log,
        )
        async with limit:
            await runner.configure(parse_settings(GRID))
            pair = KeyPair(key["name"], KeyType.HMAC, Secret(key["api_key"]), Secret(key["secret_key"]))
            await runner.keys.set(pair, uid=await uid_of(pair))
            await runner.start(by_person=True)
            tasks.append(asyncio.create_task(runner.run()))
            runners.append(runner)
            while len(runner.open_orders()) < 2 and time.perf_counter() - began < READY_WITHIN_S:
                await asyncio.sleep(0.02)

    await asyncio.gather(*(begin(number, key) for number, key in enumerate(keys)))
    while not all(runner.state == "running" and len(runner.open_orders()) == 2 for runner in runners):
        if time.perf_counter() - began > READY_WITHIN_S:
            states = [(runner.state, len(runner.open_orders())) for runner in runners]
            raise SystemExit(f"not every robot runs: {states[:20]}")
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.sleep(0.2)
    ready_s, used, at = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    await asyncio.sleep(watch_s)
    after, elapsed = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - at
    cpu = (after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime) / elapsed
    print(json.dumps({"before": before, "after": resident(), "cpu": cpu, "ready_s": ready_s}), flush=True)
    os._exit(0)


# -- measuring --------------------------------------------------------------------------------------------------------


def measure(count: int, watch_s: float) -> dict[str, Any]:
    from fortctl.paper.testing import PaperExchange

    with tempfile.TemporaryDirectory(prefix="fortctl-bench-") as name, ExitStack() as ending:
        folder = Path(name)
        make_certificate(folder)
        words = [sys.executable, __file__, "exchange", str(folder)]
        serving = subprocess.Popen(words, stdout=subprocess.PIPE)
        ending.callback(serving.wait)
        ending.callback(serving.kill)
        assert serving.stdout is not None
        ready = json.loads(serving.stdout.readline())
        paper, keys = PaperExchange(folder, ready), []
        for number in range(count):
            paper.create_account(f"a{number}", {"USDT": "10000", "BTC": "0.1"})
            keys.append(paper.create_key(f"k{number}", account=f"a{number}"))
        done = subprocess.run(
            [sys.executable, __file__, "fleet", str(folder), f"https://127.0.0.1:{ready['tls']}", str(watch_s)],
            input=json.dumps(keys),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "SSL_CERT_FILE": str(folder / "cert.pem")},
        )
        return dict(json.loads(done.stdout))


def one_robot(settle_s: float) -> tuple[int, int]:
    """Return the resident bytes of a robot that trades, and of a bare client."""
    with tempfile.TemporaryDirectory(prefix="fortctl-bench-") as name, ExitStack() as ending:
        environment = {**os.environ, "FORTCTL_HOME": str(Path(name) / "home")}
        fortctl = [sys.executable, "-m", "fortctl"]

        def run(*words: str, given: str | None = None) -> Any:
            done = subprocess.run(
                [*fortctl, *words, "--json"], env=environment, input=given, capture_output=True, text=True, check=True
            )
            return json.loads(done.stdout)["data"]

        words = [*fortctl, "paper", "serve", "--market", "synthetic:1", "--port", "0", "--json"]
        serving = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        ending.callback(serving.wait)
        ending.callback(serving.kill)
        assert serving.stdout is not None
        url = json.loads(serving.stdout.readline())["data"]["url"]
        run("init", "--exchange", "paper", "--slot", "keyfile")
        for role, rights in (("site", "reading"), ("robot", "reading,spot_trading")):
            made = run("paper", "keys", "create", "--name", role, "--permissions", rights)
            run("keys", "add", "--role", role, "--input", "-", given=json.dumps(made))
        grid = ("--levels", "8", "--step", "0.3", "--take-profit", "0.3", "--order-quote", "60")
        run("robot", "configure", "--symbol", SYMBOL, *grid)
        pid = run("robot", "start")["robot"]["pid"]
        ending.callback(os.kill, pid, 15)
        while run("robot", "status")["robot"]["orders_open"] < 8:
            time.sleep(0.2)
        time.sleep(settle_s)
        bare = subprocess.run([sys.executable, "-c", BARE, url], capture_output=True, text=True, check=True)
        return resident_of(pid), int(bare.stdout)


def main() -> int:
    if sys.argv[1:2] == ["exchange"]:
        uvloop.run(exchange(Path(sys.argv[2])))
        return 0
    if sys.argv[1:2] == ["fleet"]:
        uvloop.run(fleet(Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), json.load(sys.stdin)))
        return 0
    quick = arguments(__doc__).parse_args().quick
    watch_s = QUICK_WATCH_S if quick else WATCH_S
    rows = []
    for count in QUICK_COUNTS if quick else COUNTS:
        found = measure(count, watch_s)
        grown = found["after"] - found["before"]
        rows.append(
            f"| {count:,} | {mib(found['after']):.0f} MiB | {mib(grown) / count:.2f} MiB |"
            f" {found['cpu'] * 100:.1f} % | {found['cpu'] / count * 1000:.2f} ms | {found['ready_s']:.1f} s |"
        )
        print(rows[-1], flush=True)
    robot, bare = one_robot(0.0 if quick else SETTLE_S)
    write_section(
        "accounts",
        [
            "## Accounts in one process",
            "",
            f"{facts('python-binance', 'aiohttp', 'uvloop')}; real runners with a journal each, over TLS, against a"
            f" paper exchange on this machine; processor over {watch_s:.0f} s with two orders open an account and the"
            " market trading. Budget: ≤ 0.5 MiB an account and linear, 1,000 in < 0.8 GiB. `benchmarks/accounts.py`.",
            "",
            "| accounts | resident | an account | processor | processor an account and second | all running after |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            "The first account pays for what all share (code that is loaded and buffers that grow at the first order).",
            "",
            f"One robot, brought up by a command and trading eight levels: resident {mib(robot):.0f} MiB; a bare"
            f" `import binance` with an aiohttp session: {mib(bare):.0f} MiB; {mib(robot - bare):+.0f} MiB"
            " (budget: ≤ +40).",
        ],
        quick=quick,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
