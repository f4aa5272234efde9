"""The story: two keys, a robot trading, a planned rotation, a key deleted at the exchange and replaced, panic.

Every step is a real command in a real process; the proofs are computed from what the exchange itself tells.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fortctl.demo import checks
from fortctl.demo.shell import DemoShell
from fortctl.errors import InternalError
from fortctl.keys.verification import verify_key
from fortctl.model import KeyPair, KeyType, Role
from fortctl.ports import Exchange
from fortctl.secret import Secret

Status = dict[str, Any]


@dataclass(frozen=True)
class Pace:
    """How much of everything is shown.

    Attributes:
        first, second, third: closed cycles before the rotation, after it, and after the lost key.
        wait_s: how long each may take.
    """

    first: int
    second: int
    third: int
    wait_s: float


FAST = Pace(first=8, second=3, third=2, wait_s=25.0)
FULL = Pace(first=14, second=6, third=4, wait_s=90.0)


@dataclass
class Shown:
    """One line of the closing table."""

    step: str
    shown: str
    proof: str
    held: bool
    elapsed_ms: int

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass
class Story:
    """Plays the story.

    Args:
        shell: types the commands.
        market: what ``paper serve --market`` takes.
        pace: how much is shown.
        say: prints one line of the narration.
        live: shows a status while the robot trades.
        connect: makes an exchange adapter to the paper exchange with a key.
    """

    shell: DemoShell
    market: str
    pace: Pace
    say: Callable[[str], None]
    live: Callable[[Status], None]
    connect: Callable[[KeyPair], Exchange]
    shown: list[Shown] = field(default_factory=list)
    keys: dict[str, KeyPair] = field(default_factory=dict)
    _step: str = ""
    _began: float = 0.0

    def play(self) -> list[Shown]:
        """Play it all; return the closing table's lines."""
        self._open()
        self._take_keys_in()
        self._trade(self.pace.first, "trading", "the robot trades its grid", since=0)
        self._rotate()
        self._trade(self.pace.second, "trading again", "the same robot trades with the new key")
        self._lose_and_replace_the_key()
        self._trade(self.pace.third, "going on", "the robot goes on from the same orders")
        self._look_through_the_site_key()
        self._panic()
        return self.shown

    # -- telling ---------------------------------------------------------------------------------------------------

    def _begin(self, step: str, line: str) -> None:
        self._step, self._began = step, time.monotonic()
        self.say(f"── {step}: {line}")

    def _end(self, shown: str, proof: str, held: bool) -> None:
        elapsed = int((time.monotonic() - self._began) * 1000)
        self.shown.append(Shown(self._step, shown, proof, held, elapsed))
        self.say(f"   {'✓' if held else '✗'} {shown}; {proof}")

    # -- the steps -------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._begin("paper exchange", f"a Binance of our own over {self.market.rpartition('/')[2]}")
        ready = self.shell.serve("paper", "serve", "--market", self.market, "--speed", "max", "--port", "0")
        made = self.shell.data("init", "--exchange", "paper", "--slot", "keyfile")
        self.symbol = ready["symbols"][0]
        self._end(f"{self.symbol} served, a home made", f"account {made['account']}, target {made['exchange']}", True)

    def _create(self, name: str, permissions: str) -> dict[str, Any]:
        made = self.shell.data("paper", "keys", "create", "--name", name, "--permissions", permissions)
        self.keys[name] = KeyPair(name, KeyType.HMAC, Secret(made["api_key"]), Secret(made["secret_key"]))
        return made

    def _take_keys_in(self) -> None:
        self._begin("two keys", "created on the exchange's page, each with its own rights, and taken in")
        site = self._create("site-1", "reading")
        robot = self._create("robot-1", "reading,spot_trading")
        first = self.shell.data("keys", "add", "--role", "site", "--input", "-", given=site)
        self.say(f"   site key checked at once: {first['answer_ms']:.0f} ms")
        second = self.shell.data("keys", "add", "--role", "robot", "--input", "-", given=robot)
        self.say(f"   robot key sealed to the robot, its answer: {second['answer_ms']:.0f} ms")
        results = self.shell.data("keys", "verify")["results"]
        held = all(one["accepted"] and one["policy"]["ok"] for one in results) and second["answer_ms"] < 30_000
        rights = ", ".join(f"{key['role']}: {'+'.join(key['permissions'])}" for key in self._listed())
        self._end("both keys taken in", f"the exchange accepts both ({rights})", held)
        self.balances = self._balances()
        self.shell.data(*self._configuration())

    def _configuration(self) -> tuple[str, ...]:
        quote = {"ETH": "0.05", "BTC": "0.002", "BNB": "0.2"}.get(self.symbol[-3:], "60")
        budget = {"ETH": "2", "BTC": "0.08", "BNB": "8"}.get(self.symbol[-3:], "2400")
        return (
            *("robot", "configure", "--symbol", self.symbol, "--levels", "8", "--step", "0.3"),
            *("--take-profit", "0.3", "--order-quote", quote, "--max-quote", budget),
        )

    def _listed(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.shell.data("keys", "list")["keys"]
        return listed

    def _balances(self) -> list[dict[str, str]]:
        balances: list[dict[str, str]] = self.shell.data("account", "balances")["balances"]
        return balances

    def _status(self) -> Status:
        status: Status = self.shell.data("robot", "status")["robot"]
        return status

    def _trade(self, cycles: int, step: str, line: str, since: int | None = None) -> None:
        """Let the robot trade until so many more cycles are closed."""
        self._begin(step, line)
        before = self._status()["cycles"]["closed"] if since is None else since
        if self._status()["state"] != "running":
            self.shell.data("robot", "start")
        self.shell.data("paper", "market", "resume")
        status = self._watch(lambda one: one["cycles"]["closed"] >= before + cycles)
        closed = status["cycles"]["closed"] - before
        profit = f"{status['realised_profit'][:12]} {status['profit_asset']}"
        self._end(
            f"{closed} cycles closed", f"profit so far {profit}, {status['orders_open']} orders open", closed >= cycles
        )

    def _watch(self, enough: Callable[[Status], bool]) -> Status:
        """Follow the robot's status until it is enough, or time is up."""
        deadline = time.monotonic() + self.pace.wait_s
        with self.shell.follow("robot", "status", "--watch", "--interval", "0.1") as documents:
            for document in documents:
                status: Status = document["data"]["robot"]
                self.live(status)
                if enough(status) or time.monotonic() > deadline:
                    return status
        raise InternalError("the robot's status ended")

    def _rotate(self) -> None:
        self._begin("rotation", "one command: let the cycles finish, stop, recreate both keys, hand them over, start")
        old = {key["role"]: key["fingerprint"] for key in self._listed()}
        patience = ("--timeout", str(self.pace.wait_s), "--on-timeout", "keep")
        code, document = self.shell.run("keys", "rotate", "--role", "both", "--begin", *patience)
        self.shell.data("paper", "market", "pause")
        status = self._status()
        waits = code == 12 and document["data"]["operation"]["step"] == "create"
        drained = waits and status["state"] == "stopped" and status["cycles"]["open"] == 0
        left = len(self.shell.data("account", "orders")["orders"])
        made = {
            role: self._create(f"{role}-2", permissions)
            for role, permissions in (("site", "reading"), ("robot", "reading,spot_trading"))
        }
        for role in made:
            self.shell.data("paper", "keys", "delete", f"{role}-1")
        done = self.shell.data("keys", "rotate", "--finish", "--input", "-", given=made)["operation"]
        new = {key["role"]: key["fingerprint"] for key in self._listed()}
        replaced = done["step"] == "done" and not set(old.values()) & set(new.values())
        refused = all(self._refused(f"{role}-1") for role in ("site", "robot"))
        self._end(
            f"drained, stopped, both keys replaced, started: {done['trading_gap_s']:.1f} s without trading",
            f"{left} orders left open, {status['cycles']['open']} cycles open; both old keys are proved dead",
            drained and left == 0 and replaced and refused,
        )

    def _lose_and_replace_the_key(self) -> None:
        self._begin("key lost", "the robot's key is deleted at the exchange, in the middle of trading")
        self.shell.data("paper", "market", "pause")
        before = self._open_orders()
        self.shell.data("paper", "keys", "delete", "robot-2")
        status = self._await(lambda one: one["state"] == "key_lost")
        requests = len(self._placed())
        self.shell.data("paper", "market", "step", "150")
        status = self._await(lambda one: one.get("key_loss", {}).get("price_now") is not None)
        loss = status["key_loss"]
        still = len(self._placed()) == requests
        self._end(
            f"state {status['state']} ({loss['reason']}); the market moved {loss['drift_percent']} %",
            f"no order call since; {len(loss['probably_filled'])} of {len(before)} orders probably filled meanwhile",
            status["state"] == "key_lost" and still,
        )
        self._begin("key replaced", "a new key, sealed to the robot; it looks every order up before it goes on")
        made = self._create("robot-3", "reading,spot_trading")
        changed = self.shell.data("keys", "change", "--role", "robot", "--input", "-", given=made)
        status = self._await(lambda one: one["state"] == "running")
        after = self._open_orders()
        executed = {trade["order_id"] for trade in self._trades()}
        filled = [name for name, number in before.items() if number in executed]
        # The market has moved: a grid that trails it takes its lowest orders back.
        taken_back = self._cancelled(before) - set(filled)
        lost = checks.lost_orders(before, after, [*filled, *taken_back])
        same = sum(1 for name in before if name in after)
        self._end(
            f"verified by the robot in {changed['answer_ms']:.0f} ms, state {status['state']}",
            f"{len(before)} orders before: {same} the same now, {len(before) - same - len(taken_back)} filled meanwhile"
            f" and booked, {len(taken_back)} taken back by the grid, {len(lost) or 'none'} lost",
            status["state"] == "running" and not lost,
        )

    def _open_orders(self) -> dict[str, int]:
        orders = self.shell.data("account", "orders")["orders"]
        return {order["client_order_id"]: order["order_id"] for order in orders}

    def _cancelled(self, orders: Mapping[str, int]) -> set[str]:
        """Return those orders that the robot has cancelled: the exchange says so, and the request is in its log."""
        told = self.shell.data("account", "orders", "--all", "--symbol", self.symbol)["orders"]
        asked = checks.cancels(self._requests())
        return {
            order["client_order_id"]
            for order in told
            if order["client_order_id"] in orders
            and order["status"] == "CANCELED"
            and {order["client_order_id"], str(order["order_id"])} & asked
        }

    def _trades(self) -> list[dict[str, Any]]:
        trades: list[dict[str, Any]] = self.shell.data("account", "trades", "--symbol", self.symbol)["trades"]
        return trades

    def _requests(self) -> list[dict[str, Any]]:
        requests: list[dict[str, Any]] = self.shell.data("paper", "requests")["requests"]
        return requests

    def _placed(self) -> list[Any]:
        return checks.placed(self._requests())

    def _await(self, wanted: Callable[[Status], bool]) -> Status:
        deadline = time.monotonic() + 30
        while True:
            status = self._status()
            if wanted(status) or time.monotonic() > deadline:
                return status
            time.sleep(0.05)

    def _look_through_the_site_key(self) -> None:
        self._begin("account", "balances, orders and trades, read through the site key")
        self.shell.data("paper", "market", "pause")
        deadline = time.monotonic() + 10
        while True:
            balances, status = self._balances(), self._status()
            apart = checks.difference(self.balances, balances, status["book"])
            if not apart or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        shown = ", ".join(f"{row['asset']} {row['free']} free {row['locked']} locked" for row in balances)
        trades = len(self._trades())
        self._end(
            f"{shown}; {trades} trades",
            "the exchange's balances equal the robot's book to the last digit"
            if not apart
            else f"the balances differ from the robot's book: {apart}",
            not apart,
        )
        repeated, count = checks.twice(self._requests()), len(self._placed())
        self._begin("orders", "every order that ever left")
        self._end(f"{count} orders placed", "no client order id was accepted twice", not repeated and count > 0)

    def _panic(self) -> None:
        self._begin("panic", "one command, in the middle of trading")
        self.shell.data("paper", "market", "resume")
        time.sleep(0.3)
        code, document = self.shell.run("panic-disconnect", "--yes")
        done = self.shell.data("paper", "market", "status")
        ended = int(time.time() * 1000)  # noqa: TID251 (compared with the exchange's own request log)
        steps = {step["name"]: step for step in document["data"]["steps"]}
        self.shell.data("paper", "market", "step", "200")
        late = [entry for entry in self._placed() if entry["time"] > ended]
        self._end(
            f"halted in {steps['halt']['elapsed_ms']:.0f} ms, keys destroyed in"
            f" {steps['destroy keys']['elapsed_ms']:.0f} ms ({document['data']['elapsed_ms']:.0f} ms in all)",
            f"no order left after it, while the market went on (trade {done['position']}); exit {code}: the keys still"
            " live at the exchange",
            code == 12 and steps["halt"]["state"] == "done" and not late,
        )
        self._begin("keys dead", "deleted on the exchange's page, as the panic said")
        for name in ("site-2", "robot-3"):
            self.shell.data("paper", "keys", "delete", name)
        refused = [name for name in self.keys if self._refused(name)]
        code, _document = self.shell.run("robot", "start")
        self._end(
            f"{len(refused)} of {len(self.keys)} old keys refused as unknown",
            f"'robot start' exits {code}: latched until a person clears it",
            len(refused) == len(self.keys) and code == 8,
        )
        self._begin("secrets", "every file of the home is searched for them")
        found = self._leaks()
        self._end(
            f"{len(self.keys)} keys, pieces of 8 characters, five writings",
            "no trace in any file but the paper exchange's own" if not found else f"found in {', '.join(found)}",
            not found,
        )

    def _refused(self, name: str) -> bool:
        async def ask() -> bool:
            exchange = self.connect(self.keys[name])
            try:
                verdict = await verify_key(exchange, Role.SITE)
            finally:
                await exchange.close()
            return not verdict.accepted and verdict.reason == "unknown_key"

        return asyncio.run(ask())

    def _leaks(self) -> list[str]:
        secrets = [text.reveal() for pair in self.keys.values() for text in (pair.api_key, pair.secret)]
        home = self.shell.home
        files = [path for path in home.rglob("*") if path.is_file() and home / "paper" not in path.parents]
        return [
            str(path.relative_to(home))
            for path in files
            if any(checks.traces(secret, path.read_bytes()) for secret in secrets)
        ]
