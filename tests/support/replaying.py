"""A recording on the paper exchange, a robot under ``robot run`` that is killed, and both sides' books to compare.

What the exchange knows is asked of the exchange, with a key of its own; what the robot knows is read from its journal,
whether or not it lives.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from fortctl.errors import RobotUnreachableError
from fortctl.model import OrderStatus
from fortctl.robot.core.book import Book
from fortctl.robot.core.events import Event, FillRecorded, Held, OrderIntended, OrderNotFound
from fortctl.robot.process.local_robot import query
from fortctl.robot.process.owner_lock import owner_of
from fortctl.robot.storage.journal import read_events
from support.harness import Shell, recording
from support.hosted_exchange import HostedExchange, serve
from support.paper_client import SignedClient

PAGE = 1_000
HELD = "it was held"
WITHIN_S = 60.0
POLL_S = 0.002


@dataclass(frozen=True)
class Recording:
    """One recording, and a grid fine enough to trade in it.

    Attributes:
        rate: the commission rate that the paper exchange is told to charge.
        speed: of the replay while the robot is killed again and again.
    """

    file: str
    symbol: str
    grid: tuple[str, ...]
    rate: str
    speed: str


XRPETH = Recording(
    "XRPETH-trades-2019-10-11.csv",
    "XRPETH",
    ("--levels", "8", "--step", "0.3", "--take-profit", "0.3", "--order-quote", "0.05"),
    "0.001",
    "4000",
)
# It spans 46 seconds and 0.3 %: at Binance's usual commission no cycle would pay, so a lower one is charged.
BTCUSDT = Recording(
    "BTCUSDT-trades-2021-01-08.csv",
    "BTCUSDT",
    ("--levels", "8", "--step", "0.01", "--take-profit", "0.01", "--order-quote", "50"),
    "0.00002",
    "2",
)


@dataclass(frozen=True)
class Truth:
    """What the exchange knows of an account's orders in one symbol, oldest first."""

    orders: list[dict[str, Any]]
    trades: list[dict[str, Any]]


class Replay:
    """One paper exchange, one home, one robot.

    Args:
        shell: the home.
        what: the recording.
        words: more of ``paper serve``.
    """

    def __init__(self, shell: Shell, what: Recording, *words: str) -> None:
        self.shell, self.what = shell, what
        self._paper: HostedExchange = serve(shell, "--market", str(recording(what.file)), *words)
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = shell.home / "robots" / "default"
        self._told = shell.home.parent / "robot-run.txt"
        server = json.loads((shell.home / "paper" / "server.json").read_text())
        self._host, self._token = urlsplit(server["url"]).netloc, str(server["token"])
        self.page("market", action="pause")
        self.page("symbols/edit", symbol=what.symbol, changes={"maker": what.rate, "taker": what.rate})
        made = self.page("keys/create", name="onlooker", permissions=["reading"])
        # From an address of its own where there is more than one: what it asks must not use up the robot's limit.
        self.client = SignedClient(server["url"], made, "127.0.0.2" if sys.platform == "linux" else "")

    def page(self, path: str, /, **body: Any) -> dict[str, Any]:
        """Ask the paper exchange's own page, as ``fortctl paper`` does, without a process for each question."""
        with closing(http.client.HTTPConnection(self._host, timeout=30)) as connection:
            connection.request("POST", f"/paper-admin/{path}", json.dumps(body), {"X-Paper-Token": self._token})
            answer = json.loads(connection.getresponse().read())
        assert answer["ok"], answer
        data: dict[str, Any] = answer["data"]
        return data

    def set_up(self, *, key: str = "hmac", **settings: str) -> None:
        """Make the home, take a key in, configure the robot and end it again."""
        shell = self.shell
        shell.ok("init", "--exchange", "paper", "--slot", "keyfile")
        pair = self.page("keys/create", name="robot-1", permissions=["reading", "spot_trading"], type=key)
        # While a process starts the market moves far; holding is what other tests are about.
        for name, value in {"resume.max_drift": "100", **settings}.items():
            shell.ok("config", "set", name, value)
        shell.ok("keys", "add", "--role", "robot", "--input", "-", stdin=json.dumps(pair))
        shell.ok("robot", "configure", "--symbol", self.what.symbol, *self.what.grid)
        owner = owner_of(self.folder)
        assert owner is not None
        shell.ok("robot", "start")
        self.end(owner.pid)

    def end(self, pid: int) -> None:
        """End a robot that commands brought up, with no order in doubt."""
        os.kill(pid, signal.SIGTERM)
        until(lambda: owner_of(self.folder) is None, "its end")

    # -- the robot -------------------------------------------------------------------------------------------------

    def run_robot(self) -> subprocess.Popen[bytes]:
        """Start ``robot run``; return at once."""
        with self._told.open("wb") as told:
            self.process = subprocess.Popen(
                self.shell.argv("robot", "run"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=told,
                env=self.shell.environment,
            )
        return self.process

    def _lives(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            told = self._told.read_text(errors="replace")[-3000:]
            raise AssertionError(f"the robot ended by itself with {self.process.returncode}: {told}")

    def kill(self) -> None:
        """SIGKILL it."""
        assert self.process is not None
        self._lives()
        self.process.kill()
        self.process.wait()

    def status(self) -> dict[str, Any]:
        """Return what the robot says of itself; nothing while it does not answer."""
        self._lives()
        try:
            return query(self.folder, {"op": "status"}, timeout_s=10.0)
        except (RobotUnreachableError, OSError):
            return {}

    def await_running(self) -> dict[str, Any]:
        return until(lambda: (one := self.status()).get("state") == "running" and one, "a robot that trades")

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._paper.stop()

    # -- both sides' books -----------------------------------------------------------------------------------------

    def events(self) -> list[Event]:
        """Return what the journal says."""
        with closing(self._journal()) as connection:
            return list(read_events(connection))

    def rows(self) -> int:
        """Return how many events the journal has."""
        with closing(self._journal()) as connection:
            return int(connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0])

    def _journal(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.folder / 'journal.sqlite'}?mode=ro", uri=True, timeout=30)

    def filled(self) -> Decimal:
        """Return how much the account's orders have executed in all; costs no weight."""
        orders = self.page("orders/list", account="default", limit=500)["orders"]
        return sum((Decimal(order["executed"]) for order in orders), Decimal(0))

    def truth(self) -> Truth:
        return Truth(self._paged("allOrders", "orderId", "orderId"), self._paged("myTrades", "fromId", "id"))

    def _paged(self, path: str, first: str, number: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        start = 0
        while True:
            rows = self.client.ok("GET", path, symbol=self.what.symbol, limit=PAGE, **{first: start})
            found += rows
            if len(rows) < PAGE:
                return found
            start = int(found[-1][number]) + 1

    def exchange_time(self) -> int:
        return int(self.client.ok("GET", "time", signed=False)["serverTime"])

    def await_equal(self, *, held: bool = False) -> tuple[Truth, Book]:
        """Wait until the robot trades and its books equal the exchange's; fail with the differences.

        Args:
            held: it was held meanwhile, and rightly so.
        """
        deadline = time.monotonic() + WITHIN_S
        while True:
            self.await_running()
            truth, events = self.truth(), self.events()
            found = [one for one in differences(truth, events) if not (held and one.startswith(HELD))]
            if not found:
                return truth, book_of(events)
            assert time.monotonic() < deadline, "\n".join(found[:20])
            time.sleep(0.05)


def until(wanted: Callable[[], Any], what: str, within_s: float = WITHIN_S) -> Any:
    """Poll until something is true; return it."""
    deadline = time.monotonic() + within_s
    while not (found := wanted()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(POLL_S)
    return found


def book_of(events: Sequence[Event]) -> Book:
    book = Book()
    book.replay(events)
    return book


# -- the comparison ----------------------------------------------------------------------------------------------------


def differences(truth: Truth, events: Sequence[Event]) -> list[str]:
    """Return where a journal and the exchange differ: every trade once with its commission, every order known to both.

    Args:
        truth: the exchange's side.
        events: the whole journal, oldest first.
    """
    return [*_names(truth, events), *_trades(truth, events), *_states(truth, events), *_sums(truth, events)]


def _names(truth: Truth, events: Sequence[Event]) -> Iterator[str]:
    there = Counter(order["clientOrderId"] for order in truth.orders)
    intended = Counter(event.client_order_id for event in events if isinstance(event, OrderIntended))
    yield from (f"{name} is {count} times at the exchange" for name, count in there.items() if count > 1)
    yield from (f"{name} was intended {count} times" for name, count in intended.items() if count > 1)
    yield from (f"{name} is at the exchange and not in the journal" for name in there.keys() - intended.keys())
    absent = {event.client_order_id for event in events if isinstance(event, OrderNotFound)}
    yield from (
        f"{name} is in the journal, not proved absent, and not at the exchange"
        for name in intended.keys() - there.keys() - absent
    )


def _trades(truth: Truth, events: Sequence[Event]) -> Iterator[str]:
    names = {order["orderId"]: order["clientOrderId"] for order in truth.orders}
    theirs = Counter(
        (
            *(names.get(row["orderId"], ""), int(row["id"]), Decimal(row["price"]), Decimal(row["qty"])),
            *(Decimal(row["quoteQty"]), Decimal(row["commission"]), row["commissionAsset"]),
        )
        for row in truth.trades
    )
    ours = Counter(
        (
            *(event.client_order_id, event.trade_id, event.price, event.quantity),
            *(event.quote, event.commission, event.commission_asset),
        )
        for event in events
        if isinstance(event, FillRecorded)
    )
    yield from (f"trade {row} is not booked" for row in theirs.keys() - ours.keys())
    yield from (f"{row} is booked, and no trade" for row in ours.keys() - theirs.keys())
    yield from (f"{row} is booked {count} times" for row, count in ours.items() if count > 1)


def _states(truth: Truth, events: Sequence[Event]) -> Iterator[str]:
    book = book_of(events)
    for row in truth.orders:
        # Orders of cycles that ended long ago have left the book.
        order = book.orders.get(row["clientOrderId"])
        if order is None or order.order_id == 0:
            if OrderStatus(row["status"]).is_open:
                yield f"{row['clientOrderId']} is open at the exchange and not in the book"
            continue
        if order.absent or order.final == OrderStatus(row["status"]).is_open:
            yield f"{order.client_order_id} is {row['status']}, the book has {order.status}, absent: {order.absent}"
        if (order.executed, order.booked) != (Decimal(row["executedQty"]),) * 2:
            yield f"{order.client_order_id} executed {row['executedQty']}, the book has {order.executed}/{order.booked}"
    there = {row["clientOrderId"] for row in truth.orders if OrderStatus(row["status"]).is_open}
    yield from (f"{name} is open in the book alone" for name in book.open_orders - there)


def _sums(truth: Truth, events: Sequence[Event]) -> Iterator[str]:
    book = book_of(events)
    moved: Counter[str] = Counter()
    for row in truth.trades:
        sign = 1 if row["isBuyer"] else -1
        moved[book.base] += sign * Decimal(row["qty"])  # type: ignore[assignment]
        moved[book.quote] -= sign * Decimal(row["quoteQty"])  # type: ignore[assignment]
        moved[row["commissionAsset"]] -= Decimal(row["commission"])  # type: ignore[assignment]
    ours = {asset: amount for asset, amount in book.moved.items() if amount}
    theirs = {asset: amount for asset, amount in moved.items() if amount}
    if ours != theirs:
        yield f"the book moved {ours}, the exchange's trades {theirs}"
    yield from (f"{HELD}: {event.reasons}" for event in events if isinstance(event, Held))


# -- kills -------------------------------------------------------------------------------------------------------------


def kill_somewhere(replay: Replay, chance: random.Random) -> None:
    """Let the robot that was just started live for a while, and kill it.

    While it starts, or when so many more events are in its journal, which is before the order has left, while its
    answer is on the way, or between an event and what follows from it.
    """
    if chance.random() < 0.25:
        time.sleep(chance.uniform(0.0, 0.8))
    else:
        replay.await_running()
        wanted, deadline = replay.rows() + chance.randint(1, 12), time.monotonic() + 2.0
        # A market that stands still for a moment must not keep it alive.
        while replay.rows() < wanted and time.monotonic() < deadline:
            with suppress(sqlite3.OperationalError):
                time.sleep(chance.choice([0.0, 0.001, 0.004]))
    replay.kill()


def kill_often(replay: Replay, kills: int, chance: random.Random) -> None:
    """Kill the robot so often while the recording is replayed."""
    replay.run_robot()
    replay.await_running()
    replay.page("market", action="resume")
    for _ in range(kills):
        kill_somewhere(replay, chance)
        replay.run_robot()
    replay.await_running()
    replay.page("market", action="pause")
