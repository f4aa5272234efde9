"""The story: two keys, a robot that trades, a rotation, a key deleted at the exchange and replaced, panic.

Every step is a real command in a real process. The proofs are computed from the exchange's own answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fortctl.demo import checks
from fortctl.demo.checks import Holding, Request
from fortctl.demo.shell import DemoShell
from fortctl.errors import InternalError
from fortctl.keys.verification import verify_key
from fortctl.model import KeyPair, KeyType, Role
from fortctl.ports import Exchange
from fortctl.secret import Secret


@dataclass(frozen=True)
class Pace:
    """How long the robot trades in each part of the story.

    Attributes:
        first, second, third: closed cycles before the rotation, after it, and after the lost key.
        wait_s: the time limit of each part (s).
    """

    first: int
    second: int
    third: int
    wait_s: float


FAST = Pace(first=8, second=3, third=2, wait_s=25.0)
FULL = Pace(first=14, second=6, third=4, wait_s=90.0)


@dataclass(frozen=True)
class StoryLine:
    """One line of the closing table: a step, its result, and its proof with whether the proof held."""

    step: str
    result: str
    proof: str
    held: bool
    elapsed_ms: int

    def as_json(self) -> dict[str, Any]:
        """Return an entry of ``story[]`` as JSON."""
        return {
            "step": self.step,
            "shown": self.result,
            "proof": self.proof,
            "held": self.held,
            "elapsed_ms": self.elapsed_ms,
        }


@dataclass(frozen=True)
class LostKey:
    """What a robot without its key reports (``key_loss``).

    Attributes:
        drift_percent: by how much the price moved since; None before the robot has a price.
        probably_filled: how many of its orders the price has reached.
    """

    reason: str
    drift_percent: str | None
    probably_filled: int

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> LostKey:
        drift = fields["drift_percent"] if fields.get("price_now") is not None else None
        return cls(fields["reason"], drift, len(fields.get("probably_filled") or ()))


@dataclass(frozen=True)
class RobotView:
    """The part of ``robot status`` that the story reads.

    Attributes:
        book: what the robot booked for each asset.
    """

    state: str
    cycles_open: int
    cycles_closed: int
    orders_open: int
    profit: str
    book: Mapping[str, Decimal]
    key_loss: LostKey | None

    @classmethod
    def from_json(cls, status: Mapping[str, Any]) -> RobotView:
        loss = status.get("key_loss")
        return cls(
            state=status["state"],
            cycles_open=status["cycles"]["open"],
            cycles_closed=status["cycles"]["closed"],
            orders_open=status["orders_open"],
            profit=f"{(status.get('realised_profit') or '')[:12]} {status.get('profit_asset') or ''}",
            book={asset: Decimal(amount) for asset, amount in (status.get("book") or {}).items()},
            key_loss=LostKey.from_json(loss) if loss else None,
        )


@dataclass
class Story:
    """Plays the story.

    Args:
        shell: runs the commands.
        market: the value of ``paper serve --market``.
        pace: how long the robot trades.
        say: prints one line of the narration.
        live: shows the robot's status, as ``robot status --json`` prints it, while the robot trades.
        connect: makes an exchange adapter to the paper exchange with a key.
    """

    shell: DemoShell
    market: str
    pace: Pace
    say: Callable[[str], None]
    live: Callable[[dict[str, Any]], None]
    connect: Callable[[KeyPair], Exchange]
    lines: list[StoryLine] = field(default_factory=list)
    keys: dict[str, KeyPair] = field(default_factory=dict)
    _step: str = ""
    _began: float = 0.0

    def play(self) -> list[StoryLine]:
        """Play the whole story; return the lines of the closing table."""
        self._start_exchange()
        self._add_keys()
        self._trade(self.pace.first, "trading", "the robot trades its grid", since=0)
        self._rotate()
        self._trade(self.pace.second, "trading again", "the same robot trades with the new key")
        orders = self._lose_key()
        self._replace_key(orders)
        self._trade(self.pace.third, "trading on", "the robot continues with the same orders")
        self._read_account()
        self._check_orders()
        self._panic()
        self._delete_keys()
        self._search_secrets()
        return self.lines

    # -- narration -------------------------------------------------------------------------------------------------

    def _begin(self, step: str, line: str) -> None:
        self._step, self._began = step, time.monotonic()
        self.say(f"── {step}: {line}")

    def _end(self, result: str, proof: str, held: bool) -> None:
        elapsed = int((time.monotonic() - self._began) * 1000)
        self.lines.append(StoryLine(self._step, result, proof, held, elapsed))
        self.say(f"   {'✓' if held else '✗'} {result}; {proof}")

    # -- the steps -------------------------------------------------------------------------------------------------

    def _start_exchange(self) -> None:
        self._begin("paper exchange", f"a local exchange replays {self.market.rpartition('/')[2]}")
        ready = self.shell.serve("paper", "serve", "--market", self.market, "--speed", "max", "--port", "0")
        made = self.shell.data("init", "--exchange", "paper", "--slot", "keyfile")
        self.symbol: str = ready["symbols"][0]
        self._end(
            f"{self.symbol} is served, a home is made", f"account {made['account']}, target {made['exchange']}", True
        )

    def _add_keys(self) -> None:
        self._begin("two keys", "created on the exchange's page, each with its own permissions, and added")
        site = self._create("site-1", "reading")
        robot = self._create("robot-1", "reading,spot_trading")
        first = self.shell.data("keys", "add", "--role", "site", "--input", "-", given=_input_of(site))
        self.say(f"   the site key is verified at once: {first['answer_ms']:.0f} ms")
        second = self.shell.data("keys", "add", "--role", "robot", "--input", "-", given=_input_of(robot))
        self.say(f"   the robot key is sealed to the robot, which answers in {second['answer_ms']:.0f} ms")
        results = self.shell.data("keys", "verify")["results"]
        held = all(row["accepted"] and row["policy"]["ok"] for row in results) and second["answer_ms"] < 30_000
        rows = self.shell.data("keys", "list")["keys"]
        permissions = ", ".join(f"{row['role']}: {'+'.join(row['permissions'])}" for row in rows)
        self._end("both keys added", f"the exchange accepts both ({permissions})", held)
        self.holdings = self._holdings()
        self.shell.data(*self._configuration())

    def _configuration(self) -> tuple[str, ...]:
        quote = {"ETH": "0.05", "BTC": "0.002", "BNB": "0.2"}.get(self.symbol[-3:], "60")
        budget = {"ETH": "2", "BTC": "0.08", "BNB": "8"}.get(self.symbol[-3:], "2400")
        return (
            *("robot", "configure", "--symbol", self.symbol, "--levels", "8", "--step", "0.3"),
            *("--take-profit", "0.3", "--order-quote", quote, "--max-quote", budget),
        )

    def _trade(self, cycles: int, step: str, line: str, since: int | None = None) -> None:
        """Let the robot trade until so many more cycles are closed."""
        self._begin(step, line)
        status = self._status()
        before = status.cycles_closed if since is None else since
        if status.state != "running":
            self.shell.data("robot", "start")
        self.shell.data("paper", "market", "resume")
        status = self._watch(lambda status: status.cycles_closed >= before + cycles)
        closed = status.cycles_closed - before
        self._end(
            f"{closed} cycles closed",
            f"profit so far {status.profit}, {status.orders_open} orders open",
            closed >= cycles,
        )

    def _rotate(self) -> None:
        self._begin("rotation", "one command: drain, stop, create both new keys, deliver them, start, delete the old")
        old = self._fingerprints()
        timeout = ("--timeout", str(self.pace.wait_s), "--on-timeout", "keep")
        code, document = self.shell.run("keys", "rotate", "--role", "both", "--begin", *timeout)
        self.shell.data("paper", "market", "pause")
        status = self._status()
        waits = code == 12 and document["data"]["operation"]["step"] == "create"
        drained = waits and status.state == "stopped" and status.cycles_open == 0
        left = len(self._open_orders())
        made = {"site": self._create("site-2", "reading"), "robot": self._create("robot-2", "reading,spot_trading")}
        for role in made:
            self.shell.data("paper", "keys", "delete", f"{role}-1")
        given = {role: _input_of(pair) for role, pair in made.items()}
        done = self.shell.data("keys", "rotate", "--finish", "--input", "-", given=given)["operation"]
        replaced = done["step"] == "done" and not old & self._fingerprints()
        deleted = all(self._is_deleted(f"{role}-1") for role in made)
        self._end(
            f"drained, stopped, both keys replaced, started: {done['trading_gap_s']:.1f} s without trading",
            f"{left} orders left open, {status.cycles_open} cycles open; both old keys are proved deleted",
            drained and left == 0 and replaced and deleted,
        )

    def _lose_key(self) -> dict[str, int]:
        """Delete the robot's key at the exchange; return the orders that were open then."""
        self._begin("key lost", "the robot's key is deleted at the exchange, in the middle of trading")
        self.shell.data("paper", "market", "pause")
        orders = self._open_orders()
        self.shell.data("paper", "keys", "delete", "robot-2")
        self._await(lambda status: status.state == "key_lost")
        requests = len(self._placed())
        self.shell.data("paper", "market", "step", "150")
        status = self._await(lambda status: status.key_loss is not None and status.key_loss.drift_percent is not None)
        loss = status.key_loss
        if loss is None:
            raise InternalError(f"the robot reports no lost key: it is {status.state}")
        self._end(
            f"state {status.state} ({loss.reason}); the market moved {loss.drift_percent} %",
            f"no order was sent since; {loss.probably_filled} of {len(orders)} orders probably filled meanwhile",
            status.state == "key_lost" and len(self._placed()) == requests,
        )
        return orders

    def _replace_key(self, before: Mapping[str, int]) -> None:
        """Give the robot a new key; check what became of the orders that were open before."""
        self._begin("key replaced", "a new key, sealed to the robot, which checks each order before it trades again")
        made = self._create("robot-3", "reading,spot_trading")
        changed = self.shell.data("keys", "change", "--role", "robot", "--input", "-", given=_input_of(made))
        status = self._await(lambda status: status.state == "running")
        after = self._open_orders()
        executed = {trade["order_id"] for trade in self._trades()}
        filled = [name for name, number in before.items() if number in executed]
        # The market has moved: a grid that trails it cancels its lowest orders.
        cancelled = self._cancelled(before) - set(filled)
        lost = checks.lost_orders(before, after, [*filled, *cancelled])
        same = sum(1 for name in before if name in after)
        self._end(
            f"verified by the robot in {changed['answer_ms']:.0f} ms, state {status.state}",
            f"{len(before)} orders before: {same} the same now, {len(before) - same - len(cancelled)} filled meanwhile"
            f" and booked, {len(cancelled)} cancelled by the grid, {len(lost) or 'none'} lost",
            status.state == "running" and not lost,
        )

    def _read_account(self) -> None:
        self._begin("account", "balances, orders and trades, read with the site key")
        self.shell.data("paper", "market", "pause")
        deadline = time.monotonic() + 10
        while True:
            holdings, status = self._holdings(), self._status()
            differences = checks.difference(self.holdings, holdings, status.book)
            if not differences or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        balances = ", ".join(f"{row.asset} {row.free:f} free {row.locked:f} locked" for row in holdings)
        self._end(
            f"{balances}; {len(self._trades())} trades",
            "the exchange's balances equal the robot's book to the last digit"
            if not differences
            else f"the balances differ from the robot's book: {differences}",
            not differences,
        )

    def _check_orders(self) -> None:
        self._begin("orders", "every order that was sent")
        repeated, count = checks.repeated(self._requests()), len(self._placed())
        self._end(f"{count} orders placed", "no client order id was accepted twice", not repeated and count > 0)

    def _panic(self) -> None:
        self._begin("panic", "one command, in the middle of trading")
        self.shell.data("paper", "market", "resume")
        time.sleep(0.3)
        code, document = self.shell.run("panic-disconnect", "--yes")
        position = self.shell.data("paper", "market", "status")["position"]
        ended = int(time.time() * 1000)  # noqa: TID251 (compared with the exchange's own request log)
        steps = {step["name"]: step for step in document["data"]["steps"]}
        self.shell.data("paper", "market", "step", "200")
        late = [request for request in self._placed() if request.time > ended]
        self._end(
            f"halted in {steps['halt']['elapsed_ms']:.0f} ms, keys destroyed in"
            f" {steps['destroy keys']['elapsed_ms']:.0f} ms ({document['data']['elapsed_ms']:.0f} ms in all)",
            f"no order was sent after it, while the market continued (trade {position}); exit {code}: the keys still"
            " exist at the exchange",
            code == 12 and steps["halt"]["state"] == "done" and not late,
        )

    def _delete_keys(self) -> None:
        self._begin("keys deleted", "on the exchange's page, as the panic asked")
        for name in ("site-2", "robot-3"):
            self.shell.data("paper", "keys", "delete", name)
        deleted = [name for name in self.keys if self._is_deleted(name)]
        code, _document = self.shell.run("robot", "start")
        self._end(
            f"{len(deleted)} of {len(self.keys)} old keys refused as unknown",
            f"'robot start' exits {code}: the robot is latched until a person clears it",
            len(deleted) == len(self.keys) and code == 8,
        )

    def _search_secrets(self) -> None:
        self._begin("secrets", "every file of the home is searched for the keys")
        files = self._files_with_secrets()
        self._end(
            f"{len(self.keys)} keys, pieces of 8 characters, five encodings",
            "no piece in any file except the paper exchange's own" if not files else f"in {', '.join(files)}",
            not files,
        )

    # -- what the commands report ----------------------------------------------------------------------------------

    def _create(self, name: str, permissions: str) -> KeyPair:
        made = self.shell.data("paper", "keys", "create", "--name", name, "--permissions", permissions)
        pair = KeyPair(name, KeyType.HMAC, Secret(made["api_key"]), Secret(made["secret_key"]))
        self.keys[name] = pair
        return pair

    def _fingerprints(self) -> set[str]:
        return {row["fingerprint"] for row in self.shell.data("keys", "list")["keys"]}

    def _holdings(self) -> list[Holding]:
        return [Holding.from_json(row) for row in self.shell.data("account", "balances")["balances"]]

    def _status(self) -> RobotView:
        return RobotView.from_json(self.shell.data("robot", "status")["robot"])

    def _watch(self, enough: Callable[[RobotView], bool]) -> RobotView:
        """Follow the robot's status until it is enough, or the time is over."""
        deadline = time.monotonic() + self.pace.wait_s
        with self.shell.follow("robot", "status", "--watch", "--interval", "0.1") as documents:
            for document in documents:
                self.live(document["data"]["robot"])
                status = RobotView.from_json(document["data"]["robot"])
                if enough(status) or time.monotonic() > deadline:
                    return status
        raise InternalError("'fortctl robot status --watch' ended")

    def _await(self, enough: Callable[[RobotView], bool]) -> RobotView:
        """Query the robot's status until it is enough, or the time is over."""
        deadline = time.monotonic() + 30
        while True:
            status = self._status()
            if enough(status) or time.monotonic() > deadline:
                return status
            time.sleep(0.05)

    def _open_orders(self) -> dict[str, int]:
        """Return the open orders' client order ids, with the exchange's numbers."""
        orders = self.shell.data("account", "orders")["orders"]
        return {order["client_order_id"]: order["order_id"] for order in orders}

    def _cancelled(self, orders: Mapping[str, int]) -> set[str]:
        """Return those orders that the robot cancelled, by the exchange's list and its request log."""
        listed = self.shell.data("account", "orders", "--all", "--symbol", self.symbol)["orders"]
        requested = checks.cancelled(self._requests())
        return {
            order["client_order_id"]
            for order in listed
            if order["client_order_id"] in orders
            and order["status"] == "CANCELED"
            and {order["client_order_id"], str(order["order_id"])} & requested
        }

    def _trades(self) -> list[Mapping[str, Any]]:
        trades: list[Mapping[str, Any]] = self.shell.data("account", "trades", "--symbol", self.symbol)["trades"]
        return trades

    def _requests(self) -> list[Request]:
        return [Request.from_json(entry) for entry in self.shell.data("paper", "requests")["requests"]]

    def _placed(self) -> list[Request]:
        return checks.placed(self._requests())

    def _is_deleted(self, name: str) -> bool:
        """Return whether the exchange refuses a key as unknown."""

        async def verify() -> bool:
            exchange = self.connect(self.keys[name])
            try:
                verdict = await verify_key(exchange, Role.SITE)
            finally:
                await exchange.close()
            return not verdict.accepted and verdict.reason == "unknown_key"

        return asyncio.run(verify())

    def _files_with_secrets(self) -> list[str]:
        secrets = [secret.reveal() for pair in self.keys.values() for secret in (pair.api_key, pair.secret)]
        home = self.shell.home
        files = [path for path in home.rglob("*") if path.is_file() and home / "paper" not in path.parents]
        return [
            str(path.relative_to(home))
            for path in files
            if any(checks.contains_secret(secret, path.read_bytes()) for secret in secrets)
        ]


def _input_of(pair: KeyPair) -> dict[str, str]:
    """Return a key as ``--input`` of ``keys add`` and ``keys rotate`` reads it."""
    return {"name": pair.name, "api_key": pair.api_key.reveal(), "secret_key": pair.secret.reveal()}
