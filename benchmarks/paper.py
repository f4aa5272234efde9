"""The paper exchange beside bare peers: short rounds in turn (A B A B …), medians and ratios into docs/performance.md.

- Signed orders: ``fortctl paper serve --state FILE`` with a user stream open, against a bare aiohttp handler (uvloop)
  that parses the same body, checks its HMAC and answers a fixed JSON. This process is the client of both: keep-alive
  connections, each placing an order far from the market and cancelling it; what is sent is signed before. More clients
  share one write to the disk, so there is a row with many.
- Replay at ``--speed max`` with nobody connected, against a loop over ``Engine.apply_trade``.
- Market events to 100 sockets, against a bare aiohttp fan-out of the same bytes.
- Ten times the orders, and the memory that a million orders take: the engine alone, in processes of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson
import uvloop
from _page import arguments, facts, write_section
from aiohttp import web

from fortctl.paper.api import registry
from fortctl.paper.api.parameters import Context, check_parameters
from fortctl.paper.engine.accounts import ApiKey
from fortctl.paper.engine.exchange import Engine
from fortctl.paper.engine.market_data import Recording, load
from fortctl.paper.engine.symbols import symbol_of
from fortctl.paper.engine.trades.table import Trade

ROUND_S, QUICK_ROUND_S = 1.0, 0.1
CLIENTS, MANY = 32, 128
SOCKETS = 100
STEPS = 1_000
WORK, QUICK_WORK = 10_000, 100
RECORDING = "XRPETH-trades-2019-10-11.csv"
SYMBOL, NOW = "BTCUSDT", 1_700_000_000_000
BODY = (
    "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.001&price=20000.00&newClientOrderId={0}"
    "&recvWindow=60000&timestamp={1}",
    "symbol=BTCUSDT&origClientOrderId={0}&recvWindow=60000&timestamp={1}",
)
Figures = tuple[float, float, float]


@dataclass(frozen=True)
class Rounds:
    """How much is measured.

    Attributes:
        pairs: rounds of each side.
        seconds: the length of a round.
        work: how many orders the smaller run of the engine alone places.
    """

    pairs: int
    seconds: float
    work: int


Row = tuple[str, str, str, str, str, str]


# -- the peer: a bare server, in a process of its own -----------------------------------------------------------------

FIXED = orjson.dumps(
    {
        "symbol": SYMBOL,
        "orderId": 1,
        "orderListId": -1,
        "clientOrderId": "order-1",
        "transactTime": NOW,
        "price": "20000.00000000",
        "origQty": "0.00100000",
        "executedQty": "0.00000000",
        "status": "NEW",
        "timeInForce": "GTC",
        "type": "LIMIT",
        "side": "BUY",
        "fills": [],
    }
)


async def bare_server() -> None:
    """Serve until killed; standard input says the HMAC secret and the messages of the fan-out."""
    given = json.loads(sys.stdin.readline())
    secret, messages = given["secret"].encode(), given["messages"]
    sockets: list[web.WebSocketResponse] = []

    async def order(request: web.Request) -> web.Response:
        raw = await request.read()
        values = dict(parse_qsl(raw.decode()))
        expected = hmac.new(secret, raw.rpartition(b"&signature=")[0], hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, values["signature"]):
            return web.Response(status=400)
        return web.Response(body=FIXED, content_type="application/json")

    async def listen(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=20.0)
        await socket.prepare(request)
        sockets.append(socket)
        async for _message in socket:
            pass
        return socket

    async def fan_out(request: web.Request) -> web.Response:
        for number, message in enumerate(messages, 1):
            for socket in sockets:
                await socket.send_str(message)
            if number % 50 == 0:
                await asyncio.sleep(0)
        return web.Response(body=b"{}")

    application = web.Application()
    application.router.add_route("*", "/api/v3/order", order)
    application.router.add_get("/ws/{names}", listen)
    application.router.add_post("/paper-admin/market", fan_out)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


# -- the engine alone, in a process of its own -------------------------------------------------------------------------


def resident() -> int:
    """Return this process's resident memory (bytes)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def engine_alone(orders: int) -> dict[str, float]:
    """Place and cancel so many orders through the calls' handlers; return the processor time (s) and memory."""
    trade = Trade(1, Decimal(40_000), Decimal(1), NOW, True)
    engine = Engine({SYMBOL: Recording(symbol_of(SYMBOL, Decimal("0.01"), Decimal("0.00001")), (trade,))}, "through")
    engine.apply_trade(SYMBOL, trade, NOW)
    engine.create_account("default", {"USDT": Decimal(10_000)}, NOW)
    key = ApiKey("bench", "default", "k" * 64, "hmac", ("reading", "spot_trading"), NOW)
    engine.add_key(key)

    def ask(method: str, values: dict[str, str]) -> None:
        call = registry.CALLS[method, "/api/v3/order"]
        check_parameters(call, values)
        call.handler(Context(engine, NOW, key, []), values)
        engine.state.changed.clear()

    before, started = resident(), time.process_time()
    for number in range(orders):
        name = f"bench-{number}"
        kind = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
        ask("POST", {**kind, "price": "20000.00", "quantity": "0.001", "newClientOrderId": name})
        ask("DELETE", {"symbol": SYMBOL, "origClientOrderId": name})
    return {"seconds": time.process_time() - started, "before": before, "after": resident()}


# -- the client: raw protocols, so that the servers are what is measured -----------------------------------------------


class Caller(asyncio.Protocol):
    """One keep-alive HTTP connection that sends prepared requests one after another."""

    def __init__(self) -> None:
        self.body = b""
        self._buffer = b""
        self._transport: Any = None
        self._requests: list[bytes] = []
        self._done = self._stride = 0
        self._deadline = 0.0
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._end.done():
            self._end.set_exception(ConnectionError("the server cut the connection"))

    async def send(self, requests: list[bytes], deadline: float = 0.0, stride: int = 1) -> int:
        """Send until the deadline (or all of them), at least ``stride`` and a multiple of it; return how many."""
        self._requests, self._deadline, self._stride, self._done = requests, deadline, stride, 0
        self._end = asyncio.get_running_loop().create_future()
        self._transport.write(requests[0])
        return await self._end

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._buffer.find(b"Content-Length: ", 0, head + 2) + 16
        whole = head + 4 + int(self._buffer[at : self._buffer.index(b"\r", at)])
        if len(self._buffer) < whole:
            return
        status, self.body, self._buffer = self._buffer[9:12], self._buffer[head + 4 : whole], self._buffer[whole:]
        self._done += 1
        if status != b"200":
            self._end.set_exception(RuntimeError(f"answered {status!r}: {self.body!r}"))
        elif self._done % self._stride == 0 and (
            self._done == len(self._requests) or time.perf_counter() >= self._deadline
        ):
            self._end.set_result(self._done)
        else:
            self._transport.write(self._requests[self._done])


class Listener(asyncio.Protocol):
    """One WebSocket that counts the messages that it gets."""

    def __init__(self, path: str, keep: bool = False) -> None:
        self.count = 0
        self.kept: list[bytes] = []
        self._keep, self._path, self._open = keep, path, False
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        self._transport.write(f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{upgrade}{key}".encode())

    def say(self, payload: bytes, opcode: int = 1) -> None:
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
        self._transport.write(bytes([0x80 | opcode]) + length + bytes(4) + payload)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        place, size = 0, len(buffer)
        if not self._open:
            head = buffer.find(b"\r\n\r\n")
            self._open, place = head >= 0, head + 4 if head >= 0 else size
        while place + 4 <= size:
            length, start = buffer[place + 1], place + 2
            if length == 126:
                length, start = buffer[place + 2] << 8 | buffer[place + 3], place + 4
            if start + length > size:
                break
            if buffer[place] == 0x81:
                self.count += 1
                if self._keep:
                    self.kept.append(buffer[start : start + length])
            elif buffer[place] == 0x89:
                self.say(buffer[start : start + length], 10)
            place = start + length
        self._buffer = buffer[place:]


async def until(fact: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    deadline = time.perf_counter() + timeout
    while not fact():
        if time.perf_counter() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(0.0005)


def http(method: str, path: str, body: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@dataclass
class Target:
    """A running server."""

    port: int
    token: str = ""
    pid: int = 0

    async def call(self) -> Caller:
        return (await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", self.port))[1]

    async def listen(self, path: str, keep: bool = False) -> Listener:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: Listener(path, keep), "127.0.0.1", self.port))[1]

    def admin(self, what: str, body: dict[str, Any]) -> bytes:
        head = ("Content-Type: application/json", f"X-Paper-Token: {self.token}")
        return http("POST", f"/paper-admin/{what}", json.dumps(body), *head)

    async def ask(self, caller: Caller, what: str, **body: Any) -> dict[str, Any]:
        await caller.send([self.admin(what, body)])
        data: dict[str, Any] = json.loads(caller.body)["data"]
        return data


@contextmanager
def running(words: list[str], given: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server; yield it and its first line."""
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(given + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"{words} ended with {process.wait()}"
        yield process, line
    finally:
        process.terminate()
        process.wait()


@contextmanager
def exchange(folder: Path, *words: str) -> Iterator[Target]:
    """Run ``fortctl paper serve`` in a home of its own."""
    home = Path(tempfile.mkdtemp(dir=folder))
    argv = [sys.executable, "-m", "fortctl", "--home", str(home), "paper", "serve", "--port", "0", "--json", *words]
    with running(argv) as (process, line):
        facts_of = json.loads((home / "paper" / "server.json").read_text())
        yield Target(int(json.loads(line)["data"]["url"].rpartition(":")[2]), facts_of["token"], process.pid)


@contextmanager
def bare(secret: str = "", messages: tuple[str, ...] = ()) -> Iterator[Target]:
    given = json.dumps({"secret": secret, "messages": messages})
    with running([sys.executable, __file__, "--role", "bare"], given) as (_process, line):
        yield Target(int(line))


async def in_turn(ours: Callable[[], Awaitable[float]], peer: Callable[[], Awaitable[float]], pairs: int) -> Figures:
    """Return the medians of ours, of the peer, and of the ratio pair by pair, after one warm-up of each."""
    for run in (ours, peer):
        await run()
    found = [(await ours(), await peer()) for _ in range(pairs)]
    return (
        statistics.median(pair[0] for pair in found),
        statistics.median(pair[1] for pair in found),
        statistics.median(pair[0] / pair[1] for pair in found),
    )


# -- what is measured --------------------------------------------------------------------------------------------------


class Orders:
    """Clients that place and cancel signed orders."""

    def __init__(
        self, target: Target, api_key: str, secret: str, stream: Listener | None, *, clients: int, seconds: float
    ) -> None:
        self._seconds = seconds
        self._target, self._api_key, self._secret, self._stream = target, api_key, secret, stream
        self._clients = clients
        self._callers: list[Caller] = []
        self._next = 0
        self._each = 1000

    def signed(self, method: str, body: str) -> bytes:
        signature = hmac.new(self._secret.encode(), body.encode(), hashlib.sha256).hexdigest()
        head = (f"X-MBX-APIKEY: {self._api_key}", "Content-Type: application/x-www-form-urlencoded")
        return http(method, "/api/v3/order", f"{body}&signature={signature}", *head)

    def prepared(self, count: int) -> list[bytes]:
        found, stamp = [], int(time.time() * 1000)
        for _ in range(count // 2):
            self._next += 1
            for method, body in zip(("POST", "DELETE"), BODY, strict=True):
                found.append(self.signed(method, body.format(f"bench-{self._next}", stamp)))
        return found

    async def round(self) -> float:
        """Return the requests accepted a second."""
        if not self._callers:
            self._callers = [await self._target.call() for _ in range(self._clients)]
        requests = [self.prepared(self._each) for _ in self._callers]
        heard = self._stream.count if self._stream else 0
        started = time.perf_counter()
        done = await asyncio.gather(
            *(
                caller.send(mine, started + self._seconds, 2)
                for caller, mine in zip(self._callers, requests, strict=True)
            )
        )
        seconds = time.perf_counter() - started
        if self._stream is not None:
            # Each order and each cancel tells of the order and of the balances.
            stream, wanted = self._stream, heard + 2 * sum(done)
            await until(lambda: stream.count >= wanted, "the user stream did not get every event")
        self._each = max(200, int(max(done) / seconds * self._seconds * 1.5) // 2 * 2)
        return sum(done) / seconds


async def a_key(target: Target, caller: Caller) -> tuple[str, str]:
    made = await target.ask(caller, "keys/create", name="bench", permissions=["reading", "spot_trading"])
    return made["api_key"], made["secret_key"]


async def orders_row(folder: Path, rounds: Rounds) -> Row:
    words = ("--state", str(folder / "state.db"))
    return await _orders_row(folder, rounds, CLIENTS, "`--state` kept", "≥ 2,000/s", *words)


async def many_orders_row(folder: Path, rounds: Rounds) -> Row:
    return await _orders_row(folder, rounds, MANY, "`--state` kept", "—", "--state", str(folder / "many.db"))


async def unkept_orders_row(folder: Path, rounds: Rounds) -> Row:
    return await _orders_row(folder, rounds, CLIENTS, "nothing kept", "—")


async def _orders_row(folder: Path, rounds: Rounds, clients: int, kept: str, budget: str, *words: str) -> Row:
    with exchange(folder, "--market", "synthetic:1", "--limits", "off", *words) as target:
        api_key, secret = await a_key(target, await target.call())
        with bare(secret) as peer:
            stream = await target.listen("/ws-api/v3", keep=True)
            asked = {"apiKey": api_key, "timestamp": int(time.time() * 1000)}
            payload = "&".join(f"{name}={asked[name]}" for name in sorted(asked))
            signature = hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
            method = "userDataStream.subscribe.signature"
            stream.say(orjson.dumps({"id": 1, "method": method, "params": {**asked, "signature": signature}}))
            await until(lambda: stream.count == 1, "no answer to the subscription")
            assert orjson.loads(stream.kept[0])["status"] == 200, stream.kept[0]
            stream._keep = False
            ours, theirs, ratio = await in_turn(
                Orders(target, api_key, secret, stream, clients=clients, seconds=rounds.seconds).round,
                Orders(peer, api_key, secret, None, clients=clients, seconds=rounds.seconds).round,
                rounds.pairs,
            )
    what = f"signed orders and cancels, {kept}, a user stream open, {clients} clients"
    return (what, "bare aiohttp handler", budget, f"{ours:,.0f}/s", f"{theirs:,.0f}/s", f"{ratio:.2f} ×")


async def replay_row(folder: Path, rounds: Rounds) -> Row:
    path = recording()
    what = f"replay of {RECORDING.partition('-')[0]} at `--speed max`, nobody connected"
    if path is None:
        return (what, "loop over `Engine.apply_trade`", "—", "no recording here", "—", "—")
    tape = load(str(path))
    name = tape.symbol.name
    with exchange(folder, "--market", str(path), "--speed", "max", "--loop") as target:
        caller = await target.call()
        api_key, secret = await a_key(target, caller)
        # The first order begins the replay.
        far = f"{tape.trades[0].price / 2:.7f}"
        orders = Orders(target, api_key, secret, None, clients=1, seconds=rounds.seconds)
        body = f"symbol={name}&side=BUY&type=LIMIT&timeInForce=GTC&quantity=100&price={far}&newClientOrderId=first"
        await caller.send([orders.signed("POST", f"{body}&timestamp={int(time.time() * 1000)}")])
        body = f"symbol={name}&origClientOrderId=first&timestamp={int(time.time() * 1000)}"
        await caller.send([orders.signed("DELETE", body)])
        await target.ask(caller, "market", action="pause")

        async def ours() -> float:
            place = (await target.ask(caller, "market", action="resume"))["position"]
            began, done = time.perf_counter(), 0
            while (seconds := time.perf_counter() - began) < rounds.seconds:
                await asyncio.sleep(0.05)
                facts_now = await target.ask(caller, "market", action="status")
                done += (facts_now["position"] - place) % facts_now["rows"]
                place = facts_now["position"]
            facts_now = await target.ask(caller, "market", action="pause")
            seconds = time.perf_counter() - began
            return (done + (facts_now["position"] - place) % facts_now["rows"]) / seconds

        engine = Engine({name: tape}, "through")

        async def loop() -> float:
            began, done = time.perf_counter(), 0
            while (seconds := time.perf_counter() - began) < rounds.seconds:
                for trade in tape.trades:
                    engine.apply_trade(name, trade, NOW)
                done += len(tape.trades)
            return done / seconds

        ours_, theirs, ratio = await in_turn(ours, loop, rounds.pairs)
    return (
        what,
        "loop over `Engine.apply_trade`",
        "—",
        f"{ours_:,.0f} trades/s",
        f"{theirs:,.0f} trades/s",
        f"{ratio:.2f} ×",
    )


async def fan_out_row(folder: Path, rounds: Rounds) -> Row:
    with exchange(folder, "--market", "synthetic:1") as target:
        caller = await target.call()
        await target.ask(caller, "market", action="pause")

        def fan_out(here: Target, asking: Caller, heard: list[Listener]) -> Callable[[], Awaitable[float]]:
            async def run() -> float:
                wanted = heard[0].count + STEPS
                started = time.perf_counter()
                await asking.send([here.admin("market", {"action": "step", "count": STEPS})])
                await until(lambda: all(one.count >= wanted for one in heard), "messages are missing")
                return STEPS * len(heard) / (time.perf_counter() - started)

            return run

        path = f"/ws/{SYMBOL.lower()}@trade"
        sample = await target.listen(path, keep=True)
        await asyncio.sleep(0.2)
        await fan_out(target, caller, [sample])()
        sample._transport.close()
        ours = [await target.listen(path) for _ in range(SOCKETS)]
        with bare(messages=tuple(one.decode() for one in sample.kept)) as peer:
            theirs = [await peer.listen(path) for _ in range(SOCKETS)]
            await asyncio.sleep(0.5)
            figures = await in_turn(
                fan_out(target, caller, ours), fan_out(peer, await peer.call(), theirs), rounds.pairs
            )
    what = f"market events to {SOCKETS} sockets, messages"
    return (what, "bare aiohttp fan-out of the same bytes", "≥ 0.7 ×", *in_words(figures))


def in_words(figures: Figures) -> tuple[str, str, str]:
    return f"{figures[0]:,.0f}/s", f"{figures[1]:,.0f}/s", f"{figures[2]:.2f} ×"


def recording() -> Path | None:
    """Return the recording (FORTCTL_MARKET_DATA, or the shared folder beside the repository), or None."""
    given = os.environ.get("FORTCTL_MARKET_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "market"
    path = folder / RECORDING if folder.is_dir() else folder
    return path if path.is_file() else None


def measured(orders: int, times: int = 1) -> dict[str, float]:
    """Run the engine alone, so many times one after another, in a process of its own; return the mean seconds."""
    words = [sys.executable, __file__, "--role", "engine", "--orders", str(orders), "--times", str(times)]
    found: dict[str, float] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return found


def work_row(rounds: Rounds) -> Row:
    # Ten small runs last as long as the large one, so that both sides meet the same noise.
    work = rounds.work
    found = [(measured(work, 10)["seconds"], measured(10 * work)["seconds"]) for _ in range(rounds.pairs)]
    once, ten = (statistics.median(pair[number] for pair in found) for number in (0, 1))
    ratio = statistics.median(ten / once for once, ten in found)
    what = f"ten times the work: {10 * work:,} orders placed and cancelled, engine alone"
    return (what, f"{work:,} orders, mean of ten runs", "≤ 11 ×", f"{ten:.2f} s", f"{once:.2f} s", f"{ratio:.1f} ×")


def memory_line(orders: int) -> str:
    found = measured(orders)
    each = (found["after"] - found["before"]) / orders
    before, after = found["before"] / 2**20, found["after"] / 2**20
    return (
        f"Memory after {orders:,} orders placed and cancelled (engine alone, no state file): resident {before:,.0f} MiB"
        f" before, {after:,.0f} MiB after, {each:,.0f} bytes an order, in {found['seconds']:.0f} s."
    )


SERVED = {
    "orders": orders_row,
    "many-orders": many_orders_row,
    "unkept-orders": unkept_orders_row,
    "replay": replay_row,
    "fan-out": fan_out_row,
}
ROWS = (*SERVED, "work", "memory")


async def served(folder: Path, rounds: Rounds, chosen: Collection[str]) -> list[Row]:
    return [await row(folder, rounds) for name, row in SERVED.items() if name in chosen]


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000, help="how many orders the memory is measured over")
    parser.add_argument("--pairs", type=int, default=15, help="rounds of each side")
    parser.add_argument("--row", action="append", choices=ROWS, help="measure and print this row alone; repeatable")
    parser.add_argument("--role", choices=["bare", "engine"], help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role == "bare":
        uvloop.run(bare_server())
    if given.role == "engine":
        runs = [engine_alone(given.orders) for _ in range(given.times)]
        print(json.dumps({**runs[0], "seconds": statistics.mean(run["seconds"] for run in runs)}))
        return 0
    rounds = Rounds(1, QUICK_ROUND_S, QUICK_WORK) if given.quick else Rounds(given.pairs, ROUND_S, WORK)
    orders = min(given.orders, 10 * QUICK_WORK) if given.quick else given.orders
    with tempfile.TemporaryDirectory(prefix="fortctl-bench-") as folder:
        chosen = given.row or ROWS
        rows = uvloop.run(served(Path(folder), rounds, chosen))
        if "work" in chosen:
            rows.append(work_row(rounds))
    lines = [
        "## Paper exchange",
        "",
        f"{facts('aiohttp', 'uvloop', 'orjson')}; {rounds.pairs} pairs after one warm-up, rounds of"
        f" {rounds.seconds:g} s (the engine alone: whole processes, processor time), medians. `benchmarks/paper.py`.",
        "",
        "| what | peer in the same run | budget | ours | peer | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *([memory_line(orders)] if "memory" in chosen else []),
    ]
    # A part of the rows is printed only: the page has all of one run.
    write_section("paper", lines, quick=given.quick or bool(given.row))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
