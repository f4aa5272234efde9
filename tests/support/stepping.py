"""A recording let happen trade by trade, and only while the robot under ``robot run`` is idle.

Idle is a fact, not a pause: the robot trades and knows the last price, its journal and the exchange agree on every
order and trade, and the strategy, asked by the same pure code over that journal and that price, wants nothing.
"""

from __future__ import annotations

import random
import time
from decimal import Decimal

from fortctl.exchange import parsing
from fortctl.model import OrderStatus
from fortctl.paper.engine.market_data import load
from fortctl.robot.core.book import Book
from fortctl.robot.strategy.api import Plan, View
from fortctl.robot.strategy.grid import Grid
from support.harness import Shell, recording
from support.replaying import WITHIN_S, Recording, Replay, Truth, book_of, differences, until
from support.standing import Stand, stand_of


class Stepped:
    """A replay whose market stands still until the robot is idle.

    Args:
        shell: the home.
        what: the recording.
        fate: decides where the robot is killed; None leaves it alone.
    """

    def __init__(self, shell: Shell, what: Recording, fate: random.Random | None) -> None:
        self.replay = Replay(shell, what, "--speed", "max")
        self._prices = [trade.price for trade in load(str(recording(what.file)), None).trades]
        self._fate, self._rate = fate, Decimal(what.rate)
        answer = self.replay.client.ok("GET", "exchangeInfo", symbol=what.symbol, signed=False)
        self._rules = parsing.symbol_rules(answer)
        self.position = int(self.replay.page("market", action="status")["position"])
        self.kills = 0

    def walk(self, steps: int) -> list[Stand]:
        """Go so many trades that concern the robot, or to the end; return what stood after each."""
        replay, found = self.replay, []
        replay.set_up()
        replay.run_robot()
        truth, book, plan = self._idle()
        while len(found) < steps and (quiet := self._quiet(truth, plan)) is not None:
            if quiet:
                self._step(quiet)
                self._idle()
            self._maybe_kill_idle()
            self._step(1)
            self._maybe_kill_at_work()
            truth, book, plan = self._idle()
            found.append(_stand(self.position, truth, book))
        return found

    def _step(self, count: int) -> None:
        self.position = int(self.replay.page("market", action="step", count=count)["position"])

    def _quiet(self, truth: Truth, plan: Plan) -> int | None:
        """Return how many trades leave the robot alone before the next that does not; None when none is left."""
        is_open = [row for row in truth.orders if OrderStatus(row["status"]).is_open]
        buys = [Decimal(row["price"]) for row in is_open if row["side"] == "BUY"]
        sells = [Decimal(row["price"]) for row in is_open if row["side"] == "SELL"]
        above = min([*sells, plan.quiet_below or Decimal(0)])
        for number, price in enumerate(self._prices[self.position :]):
            if price <= max(buys, default=Decimal(0)) or price >= above:
                return number
        return None

    # -- kills -----------------------------------------------------------------------------------------------------

    def _kill(self) -> None:
        self.replay.kill()
        self.replay.run_robot()
        self.kills += 1

    def _maybe_kill_idle(self) -> None:
        if self._fate is None or self._fate.random() > 0.2:
            return
        before = _open_names(self.replay.truth())
        self._kill()
        truth, _book, _plan = self._idle()
        assert _open_names(truth) == before, "killed while it was idle, it goes on from the very same orders"

    def _maybe_kill_at_work(self) -> None:
        """Kill it while it reacts: at once, after a moment, or as soon as its journal has so many more events."""
        if self._fate is None or self._fate.random() > 0.5:
            return
        wanted, deadline = self.replay.rows() + self._fate.randint(0, 6), time.monotonic() + self._fate.uniform(0, 0.2)
        while self.replay.rows() < wanted and time.monotonic() < deadline:
            time.sleep(0.0005)
        self._kill()

    # -- idleness --------------------------------------------------------------------------------------------------

    def _idle(self) -> tuple[Truth, Book, Plan]:
        why = ["it does not answer"]

        def found() -> tuple[Truth, Book, Plan] | None:
            status, price = self.replay.status(), self._prices[self.position - 1]
            told = (status.get("state"), Decimal(status.get("price") or 0))
            if told != ("running", price):
                why[0] = f"it is {told}, and the price {price}"
                return None
            truth, events = self.replay.truth(), self.replay.events()
            unequal, book = differences(truth, events), book_of(events)
            plan = Grid().plan(book, View(price, self._rules, self._rate))
            why[0] = f"{unequal}, {plan}"
            return None if unequal or plan.events or plan.intents else (truth, book, plan)

        try:
            idle: tuple[Truth, Book, Plan] = until(found, "an idle robot", WITHIN_S)
        except AssertionError as error:
            raise AssertionError(f"{error}: {why[0]}") from None
        return idle


def _open_names(truth: Truth) -> set[str]:
    return {row["clientOrderId"] for row in truth.orders if OrderStatus(row["status"]).is_open}


def _stand(position: int, truth: Truth, book: Book) -> Stand:
    rows = [
        (row["side"], row["price"], row["origQty"], row["executedQty"])
        for row in truth.orders
        if OrderStatus(row["status"]).is_open
    ]
    return stand_of(position, rows, truth.trades, book)
