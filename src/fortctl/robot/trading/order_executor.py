"""Execute intents: journal first, then the latch, then the network; unknown outcomes are looked up, never assumed.

A fill's way to the next order is in this module from end to end: :meth:`OrderExecutor.on_order_update` receives it from
the user stream, ``_sell_at_once`` makes the sell, ``_send`` takes it through the latch and the lease to the exchange.
Every other order comes from the worker's plan through :meth:`OrderExecutor.execute`, and leaves by the same ``_send``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal

from fortctl.model import Fill, OrderRequest, OrderState, OrderStatus, OrderType, OrderUpdate, Side, SymbolRules
from fortctl.ports import Exchange, ExchangeError, Outcome
from fortctl.robot.core.blocked_reason import BlockedReason
from fortctl.robot.core.cycle import CycleState, Order
from fortctl.robot.core.events import Cancel, Event, Intent, OrderIntended, OrderNotFound, Place
from fortctl.robot.core.lifecycle import TradingMode
from fortctl.robot.core.order_ids import client_order_id
from fortctl.robot.core.reconciliation import fill_record, status_report
from fortctl.robot.core.settings import Settings
from fortctl.robot.core.submission import READY, RECV_WINDOW_MS, SubmissionStep
from fortctl.robot.strategy.api import View, first_sell
from fortctl.robot.trading.order_lookup import OrderLookup
from fortctl.robot.trading.state import RobotState

BACK_OFF_S = {Outcome.WOULD_TAKE: 1.0, Outcome.NO_FUNDS: 30.0, Outcome.REFUSED: 30.0}
MAX_CONCURRENT_CALLS = 16
# A command's answer is waited for 30 s, and the exchange is asked what is left after this.
CANCEL_WITHIN_S = 15.0
# Pause (s) before an order that was kept back may be planned again.
NOT_SENT_S = 1.0
# Before an order that failed is tried again: growing from this, and at most so long (by outcome).
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = {Outcome.UNKNOWN: 300.0, Outcome.REFUSED: 300.0, Outcome.UNREACHABLE: 60.0}
# Why an order has not left or is not there, in the words of the status; the exchange's own words follow.
NOT_PLACED = {
    Outcome.NO_FUNDS: "the exchange refuses it",
    Outcome.REFUSED: "the exchange refuses it",
    Outcome.WOULD_TAKE: "the exchange refuses it",
    Outcome.BUSY: "the exchange is busy",
    Outcome.UNKNOWN: "its outcome was unknown, and it is not there",
    Outcome.UNREACHABLE: "the exchange was not reached",
}
ENDED_BY_EXCHANGE = (OrderStatus.EXPIRED, OrderStatus.EXPIRED_IN_MATCH, OrderStatus.REJECTED)


@dataclass(frozen=True)
class UnplacedOrder:
    """Why the last order of a level, or of a cycle's sell, was not placed.

    Attributes:
        price: the order's price.
        why: what became of it, with the exchange's own words and code.
    """

    price: Decimal
    why: str


class OrderExecutor:
    """Places and cancels the orders of one robot.

    Args:
        robot: the robot's state.
        lookup: looks up what is unknown, and fetches trades.
        on_key_refused: is awaited when the exchange refuses the key.
        on_rules_doubted: is called when filters or commissions seem to be others than those known.
    """

    def __init__(
        self,
        robot: RobotState,
        lookup: OrderLookup,
        on_key_refused: Callable[[ExchangeError], Awaitable[None]],
        on_rules_doubted: Callable[[], None],
    ) -> None:
        self._robot = robot
        self._lookup = lookup
        self._on_key_refused = on_key_refused
        self._on_rules_doubted = on_rules_doubted
        self._blocked_levels: dict[int, float] = {}
        self._blocked_cycles: dict[int, float] = {}
        # Refusals in a row because the order would have matched at once, by level and by cycle.
        self._would_match_count: dict[str, dict[int, int]] = {"buy": {}, "sell": {}}
        self._cancelling: set[str] = set()
        # Unsettled orders that the robot asked to cancel, also where it got no answer.
        self._asked_to_cancel: set[str] = set()
        # Orders whose outcome was unknown and is not judged yet, and how many tries in a row failed, by place.
        self._in_doubt: set[str] = set()
        self._failures: dict[str, dict[int, int]] = {"buy": {}, "sell": {}}
        # By the same places: why the last order was not placed, until one is.
        self._refusals: dict[str, dict[int, UnplacedOrder]] = {"buy": {}, "sell": {}}
        self._doubted_because: dict[str, str] = {}
        self._busy_until = 0.0
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_CALLS)
        self._in_flight = 0
        self._none_in_flight = asyncio.Event()
        self._none_in_flight.set()

    def view(self, price: Decimal, rules: SymbolRules, rate: Decimal) -> View:
        """Return the strategy's view; levels and sells that were refused a moment ago are blocked in it."""
        self._judge_doubts()
        now = self._robot.clock.monotonic()
        self._blocked_levels = {level: until for level, until in self._blocked_levels.items() if until > now}
        self._blocked_cycles = {cycle: until for cycle, until in self._blocked_cycles.items() if until > now}
        self._would_match_count["sell"] = {
            cycle: count for cycle, count in self._would_match_count["sell"].items() if cycle in self._robot.book.live
        }
        return View(
            *(
                price,
                rules,
                rate,
                frozenset(self._blocked_levels),
                frozenset(self._blocked_cycles),
                self._robot.exchange_now(),
            ),
            buys_would_match=self._would_match_count["buy"],
            sells_would_match=self._would_match_count["sell"],
        )

    def waits(self, blocked: Sequence[BlockedReason]) -> tuple[BlockedReason, ...]:
        """Return why planned orders are not on the market.

        Args:
            blocked: the strategy's own reasons; they come first, and a sell that they explain is not explained again.
        """
        book, running = self._robot.book, self._robot.book.mode is TradingMode.RUNNING
        occupied = {cycle.level for cycle in book.live_cycles() if cycle.state is not CycleState.BUYING}
        levels = book.levels or self._refusals["buy"].keys()
        self._refusals = {
            "buy": {n: why for n, why in self._refusals["buy"].items() if n in levels and n not in occupied},
            "sell": {n: why for n, why in self._refusals["sell"].items() if n in book.live},
        }
        by_words: dict[str, list[Decimal]] = {}
        for refusal in self._refusals["buy"].values() if running else ():
            by_words.setdefault(refusal.why, []).append(refusal.price)
        buys = [BlockedReason("BUY_WAITS", f"{_prices(prices)}: {why}") for why, prices in sorted(by_words.items())]
        explained = {reason.cycle for reason in blocked}
        sells = [
            BlockedReason("SELL_WAITS", f"cycle {cycle} does not sell at {refusal.price:f}: {refusal.why}", cycle)
            for cycle, refusal in sorted(self._refusals["sell"].items())
            if cycle not in explained
        ]
        asked = [name for name in self._lookup.unknown if name in self._doubted_because and name in book.orders]
        doubts = [
            BlockedReason(
                "UNKNOWN", f"{name} is looked up, because its outcome is unknown ({self._doubted_because[name]})"
            )
            for name in asked
        ]
        return (*blocked, *sells, *doubts, *buys)

    async def execute(self, exchange: Exchange, intents: Sequence[Intent]) -> None:
        """Carry out intents side by side."""
        book = self._robot.book
        under = book.settings
        if self._robot.clock.monotonic() < self._busy_until:
            wait = self._busy_until - self._robot.clock.monotonic()
            self._robot.beat(wait)
            await asyncio.sleep(wait)
        if not self._robot.calm() or under is not book.settings:
            # Planned before a break or under other settings: the break is judged first, then the worker plans again.
            self._robot.wake()
            return
        places = [intent for intent in intents if isinstance(intent, Place)]
        cancels = [intent.client_order_id for intent in intents if isinstance(intent, Cancel)]
        with self._counted_in_flight():
            requests = self._journal(places)
            await asyncio.gather(
                *(self._place(exchange, request, at, under) for request, at in requests),
                *(self.cancel(exchange, name, while_calm=True) for name in cancels if name not in self._cancelling),
            )

    @contextmanager
    def _counted_in_flight(self) -> Iterator[None]:
        self._in_flight += 1
        self._none_in_flight.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._none_in_flight.set()

    async def wait_for_in_flight(self) -> None:
        """Wait until every order that was sent has been answered, or has become unknown."""
        await asyncio.sleep(0)  # let what was spawned this instant begin
        await self._none_in_flight.wait()

    def _journal(self, places: Sequence[Place]) -> list[tuple[OrderRequest, int]]:
        """Make the intents durable, all in one write; only then may any of them leave."""
        robot, book = self._robot, self._robot.book
        events = []
        new_cycles = sum(1 for place in places if place.cycle is None)
        number = robot.reserve_cycles(new_cycles) if new_cycles else 0
        for place in places:
            cycle, attempt = place.cycle, 1
            if cycle is None:
                cycle, number = number, number + 1
            else:
                attempt = book.next_attempt(book.cycles[cycle], place.leg, place.price, place.quantity)
            events.append(self._intended(place, cycle, attempt))
        robot.record(*events)
        return [(self._request(book.orders[event.client_order_id]), event.at) for event in events]

    def _intended(self, place: Place, cycle: int, attempt: int) -> OrderIntended:
        robot = self._robot
        step_size = robot.rules.step_size if robot.rules is not None else Decimal(0)
        return OrderIntended(
            *(cycle, place.level, place.leg, attempt, client_order_id(robot.robot_id, cycle, place.leg, attempt)),
            *(place.price, place.quantity, place.dust),
            # The timestamp is fixed before the lease is checked: what is delayed after that is refused (rule 5).
            at=robot.exchange_now(),
            sell_price=place.sell_price,
            sell_step=step_size if place.sell_price else Decimal(0),
        )

    def _request(self, order: Order) -> OrderRequest:
        settings = self._robot.book.settings
        assert settings is not None
        return OrderRequest(
            settings.symbol,
            order.side,
            OrderType.LIMIT_MAKER if settings.maker_only else OrderType.LIMIT,
            order.quantity,
            order.price,
            order.client_order_id,
            settings.self_trade_prevention,
        )

    # -- from a fill to the next order -------------------------------------------------------------------------------

    def on_order_update(self, update: OrderUpdate) -> None:
        """Apply an update of the user stream; where it finishes a buy, send the promised sell at once.

        The order of the steps is that of docs/fill-to-order.md: the update is applied to the book, the sell is made of
        the book, and both are journaled after the sell has left. A crash in between loses nothing: the exchange reports
        the fill again, and the sell was made durable with its buy (robot.md, rule 1).
        """
        robot = self._robot
        name = self.our_name(update.order)
        if name is None:
            return
        events: list[Event] = []
        if update.fill is not None and not robot.book.has_booked(name, update.fill.trade_id):
            events.append(fill_record(update.fill, name))
            if self._commission_exceeds_rate(update.fill):
                self._on_rules_doubted()
        events.append(replace(status_report(update.order), client_order_id=name))
        robot.record_with_next(*events)
        self.note_exchange_ended(name)
        if self._sell_at_once(name):
            # The write waits for the order to leave: what a crash loses until then, the exchange reports again.
            return
        # The worker wakes first: what it plans now is written together with what happened.
        robot.wake()
        robot.spawn(self._flush_soon(), "journal")
        if robot.book.orders[name].missing:
            self._lookup.fetch_fills_of(name)

    def our_name(self, order: OrderState) -> str | None:
        """Return our name for an order, or None where it is none of ours; amended by hand, it has another."""
        book = self._robot.book
        ours = book.orders.get(order.client_order_id)
        if ours is not None and ours.order_id in (0, order.order_id):
            return order.client_order_id
        if ours is not None and not self._robot.book.hold:
            self._robot.log.warning("order %d has the client order id of %d", order.order_id, ours.order_id)
            self._robot.doubt_books()
            return None
        return next((ours.client_order_id for ours in book.unsettled() if ours.order_id == order.order_id), None)

    def has_asked_to_cancel(self, name: str) -> bool:
        """Return whether the robot has asked for the cancellation of one of its orders."""
        return name in self._asked_to_cancel

    def _commission_exceeds_rate(self, fill: Fill) -> bool:
        """Return whether a commission was higher than the known rate explains (by more than its rounding)."""
        book = self._robot.book
        whole = {book.base: fill.quantity, book.quote: fill.quote}.get(fill.commission_asset)
        return whole is not None and fill.commission > whole * self._robot.rate * Decimal("1.01")

    async def _flush_soon(self) -> None:
        self._robot.flush()
        self._robot.accepted()

    def _sell_at_once(self, name: str) -> bool:
        """Send a finished buy's promised sell without a write in between; True when it is on its way (rule 1)."""
        robot, book = self._robot, self._robot.book
        order, exchange = book.orders[name], robot.exchange
        # The lease is checked once, after the sell is stamped and under the latch's lock (robot/core/submission.py).
        if not robot.calm() or robot.rules is None or robot.price is None:
            return False
        if order.leg != "buy" or not order.settled or exchange is None or robot.clock.monotonic() < self._busy_until:
            return False
        cycle = book.cycles[order.cycle]
        place = first_sell(book, cycle, self.view(robot.price, robot.rules, robot.rate))
        if place is None:
            return False
        event = self._intended(place, cycle.id, 1)
        robot.record_with_next(event)
        request = self._request(book.orders[event.client_order_id])
        robot.spawn(self._place(exchange, request, event.at, book.settings), f"sell {event.client_order_id}")
        return True

    async def _place(self, exchange: Exchange, request: OrderRequest, at: int, under: Settings | None) -> None:
        with self._counted_in_flight():
            await self._send(exchange, request, at, under)

    async def _send(self, exchange: Exchange, request: OrderRequest, at: int, under: Settings | None) -> None:
        """Take an order that is stamped and durable through the remaining submission steps.

        The steps are :data:`fortctl.robot.core.submission.SUBMISSION_STEPS`. A buy leaves only under the settings that
        it was planned with.
        """
        robot, name, submission = self._robot, request.client_order_id, READY
        async with self._slots:
            with robot.latch.placing() as free:
                submission = submission.advance(free).advance(free)
                if submission.step is SubmissionStep.LEASE:
                    still_planned = request.side is Side.SELL or under is robot.book.settings
                    submission = submission.advance(robot.may_place() and exchange is robot.exchange and still_planned)
                answer = (
                    await _place_or_error(exchange, request, at) if submission.step is SubmissionStep.SEND else None
                )
        if answer is None:
            robot.record(OrderNotFound(name, f"not sent: {submission.stopped}"))
            self._block(robot.book.orders[name], NOT_SENT_S)
            asyncio.get_running_loop().call_later(NOT_SENT_S, robot.wake)
        elif isinstance(answer, ExchangeError):
            await self._not_placed(name, answer)
        else:
            self._placed(name, answer)

    def _placed(self, name: str, order: OrderState) -> None:
        robot = self._robot
        leg, place = robot.book.orders[name].leg, self._blocked_key(name)
        self._would_match_count[leg].pop(place, None)
        self._failures[leg].pop(place, None)
        self._refusals[leg].pop(place, None)
        robot.record(status_report(order))
        self.note_exchange_ended(name)
        robot.accepted()
        if robot.book.orders[name].missing:
            self._lookup.fetch_fills_of(name)

    async def _not_placed(self, name: str, fault: ExchangeError) -> None:
        robot = self._robot
        robot.flush()
        order = robot.book.orders[name]
        if fault.outcome in (Outcome.UNKNOWN, Outcome.DUPLICATE):
            robot.log.warning("order %s: outcome unknown (%s); looking it up", name, fault)
            self._lookup.mark_unknown(name)
            if fault.outcome is Outcome.UNKNOWN:
                self._in_doubt.add(name)
                self._doubted_because[name] = _words(fault)
                robot.note_unanswered(fault.message)
            return
        if fault.outcome is Outcome.UNREACHABLE:
            robot.note_unanswered(fault.message)
        if fault.outcome in NOT_PLACED:
            why = f"{NOT_PLACED[fault.outcome]}: {_words(fault)}"
            self._refusals[order.leg][self._blocked_key(name)] = UnplacedOrder(order.price, why)
        robot.record(OrderNotFound(name, f"{fault.outcome.value} {fault.code or ''}".strip()))
        wait = max(BACK_OFF_S.get(fault.outcome, fault.retry_after or 1.0), self._pause(order, fault.outcome))
        self._block(order, wait)
        if fault.outcome is Outcome.REFUSED:
            self._on_rules_doubted()
        if fault.outcome is Outcome.WOULD_TAKE:
            crossings, place = self._would_match_count[order.leg], self._blocked_key(name)
            crossings[place] = crossings.get(place, 0) + 1
        elif fault.outcome is Outcome.KEY_REFUSED:
            await self._on_key_refused(fault)
        elif fault.outcome is Outcome.NO_FUNDS and order.leg == "sell":
            # What our cycles have bought may be gone: the balance is checked before another try.
            robot.doubt_books()
        elif fault.outcome is Outcome.CLOCK:
            robot.resync()
        elif fault.outcome is Outcome.BUSY:
            self._busy_until = max(self._busy_until, robot.clock.monotonic() + (fault.retry_after or 1.0))
        robot.log.warning("order %s not placed: %s", name, fault)
        asyncio.get_running_loop().call_later(wait, robot.wake)

    def _judge_doubts(self) -> None:
        """Let a place wait whose order was unknown and is proved absent: under a lasting fault, ever longer."""
        unknown, orders = self._lookup.unknown, self._robot.book.orders
        for name in [name for name in self._in_doubt if name not in unknown]:
            self._in_doubt.discard(name)
            words = self._doubted_because.pop(name, "")
            order = orders.get(name)
            if order is None:
                continue
            if not order.absent:
                self._failures[order.leg].pop(self._blocked_key(name), None)
                self._refusals[order.leg].pop(self._blocked_key(name), None)
                continue
            why = f"{NOT_PLACED[Outcome.UNKNOWN]}: {words}"
            self._refusals[order.leg][self._blocked_key(name)] = UnplacedOrder(order.price, why)
            pause = self._pause(order, Outcome.UNKNOWN)
            self._block(order, pause)
            asyncio.get_running_loop().call_later(pause, self._robot.wake)

    def _pause(self, order: Order, outcome: Outcome) -> float:
        """Return how long a place waits after one more failure in a row (s); 0 where such a failure does not grow."""
        if outcome not in LONGEST_PAUSE_S:
            return 0.0
        failures, place = self._failures[order.leg], self._blocked_key(order.client_order_id)
        count = failures.get(place, 0)
        failures[place] = min(count + 1, 16)
        return min(LONGEST_PAUSE_S[outcome], FIRST_PAUSE_S * float(2**count))

    def _block(self, order: Order, seconds: float) -> None:
        blocked = self._blocked_levels if order.leg == "buy" else self._blocked_cycles
        blocked[self._blocked_key(order.client_order_id)] = self._robot.clock.monotonic() + seconds

    def _blocked_key(self, name: str) -> int:
        """Return what must wait when an order is refused: a buy's level, or a sell's cycle."""
        order = self._robot.book.orders[name]
        return self._robot.book.cycles[order.cycle].level if order.leg == "buy" else order.cycle

    def note_exchange_ended(self, name: str) -> None:
        """Wait before the next try of an order that the exchange ended by itself (self-trade prevention, a halt)."""
        order = self._robot.book.orders[name]
        if order.status in ENDED_BY_EXCHANGE:
            self._block(order, BACK_OFF_S[Outcome.REFUSED])

    # -- cancelling ------------------------------------------------------------------------------------------------

    async def cancel(self, exchange: Exchange, name: str, *, while_calm: bool = False) -> ExchangeError | None:
        """Cancel one order of ours; what it had filled by then stays. Return why it is not final now, or None.

        Args:
            while_calm: cancel only if the robot is still calm when its turn comes.
        """
        robot = self._robot
        settings = robot.book.settings
        assert settings is not None
        self._cancelling.add(name)
        self._asked_to_cancel = (self._asked_to_cancel & robot.book.open_orders) | {name}
        try:
            async with self._slots:
                if while_calm and not robot.calm():
                    return None
                # By its number, where it is known: amended by hand, it answers to another name.
                number = robot.book.orders[name].order_id or None
                order = await exchange.cancel(settings.symbol, name, order_id=number)
        except ExchangeError as fault:
            if fault.outcome is Outcome.ABSENT:
                # Filled, cancelled or gone meanwhile: the exchange knows which.
                self._lookup.mark_unknown(name)
            elif fault.outcome is Outcome.KEY_REFUSED:
                await self._on_key_refused(fault)
            else:
                robot.log.warning("cancel of %s: %s", name, fault)
                self._lookup.mark_unknown(name)
            return fault
        finally:
            self._cancelling.discard(name)
        robot.record(status_report(replace(order, client_order_id=name)))
        robot.accepted()
        if robot.book.orders[name].missing:
            self._lookup.fetch_fills_of(name)
        return None

    async def cancel_by_number(self, orders: Sequence[OrderState]) -> tuple[list[OrderState], list[ExchangeError]]:
        """Cancel orders that have our prefix and are not in the journal; return those that stay, and why."""
        exchange, left, faults = self._robot.exchange, list[OrderState](), list[ExchangeError]()
        for order in orders if exchange is not None else ():
            assert exchange is not None
            try:
                async with asyncio.timeout(CANCEL_WITHIN_S):
                    await exchange.cancel(order.symbol, order.client_order_id, order_id=order.order_id)
            except TimeoutError:
                left.append(order)
                faults.append(ExchangeError(Outcome.UNKNOWN, f"no answer within {CANCEL_WITHIN_S:.0f} s"))
            except ExchangeError as fault:
                if fault.outcome is not Outcome.ABSENT:
                    left.append(order)
                    faults.append(fault)
        return left, faults

    async def cancel_all(self) -> tuple[list[str], list[ExchangeError]]:
        """Cancel every open order of ours, one by one and side by side; return those that are, and why others are not.

        What is not answered in time is in doubt.
        """
        exchange = self._robot.exchange
        if exchange is None:
            return [], []
        names = [order.client_order_id for order in self._robot.book.unsettled() if not order.final]
        cancels = {name: asyncio.ensure_future(self.cancel(exchange, name)) for name in names}
        if cancels:
            _done, late = await asyncio.wait(cancels.values(), timeout=CANCEL_WITHIN_S)
            for cancel in late:
                cancel.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        faults = []
        for name, cancel in cancels.items():
            if cancel.cancelled():
                self._lookup.mark_unknown(name)
                faults.append(ExchangeError(Outcome.UNKNOWN, f"no answer within {CANCEL_WITHIN_S:.0f} s"))
            elif (fault := cancel.result()) is not None:
                faults.append(fault)
        cancelled = [name for name, cancel in cancels.items() if not cancel.cancelled() and cancel.result() is None]
        return cancelled, faults


def _words(fault: ExchangeError) -> str:
    """Return the exchange's own words, with its code."""
    return f"{fault.message} ({fault.code})" if fault.code is not None else fault.message


def _prices(prices: Sequence[Decimal]) -> str:
    if len(prices) == 1:
        return f"the buy at {prices[0]:f}"
    return f"{len(prices)} buys ({max(prices):f} to {min(prices):f})"


async def _place_or_error(exchange: Exchange, request: OrderRequest, at: int) -> OrderState | ExchangeError:
    try:
        return await exchange.place(request, timestamp=at, recv_window=RECV_WINDOW_MS)
    except ExchangeError as fault:
        return fault
