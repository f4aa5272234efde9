"""Follow the exchange's streams: the market's trades, and the account's own orders and balances."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from fortctl.model import BalanceUpdate, FundsMoved, OrderUpdate, StreamDown, StreamUp
from fortctl.ports import Exchange
from fortctl.robot.trading.state import RobotState

STREAM_WITHIN_S = 1.0
# A request that left with the old key has its answer by then, or never (exchange.client.TIMEOUT_S).
SEE_OUT_S = 10.0


class StreamFollower:
    """Follows the streams of one robot; each is a task beside the worker.

    Args:
        robot: the robot's state.
        on_order_update: is called with each update of an order.
        on_funds_moved: is called when funds came or went without an order.
        on_down: is awaited when the user stream of the loaded key went down.

    Attributes:
        up: the adapters whose user stream is up.
    """

    def __init__(
        self,
        robot: RobotState,
        on_order_update: Callable[[OrderUpdate], None],
        on_funds_moved: Callable[[FundsMoved], None],
        on_down: Callable[[StreamDown], Awaitable[None]],
    ) -> None:
        self._robot = robot
        self._on_order_update = on_order_update
        self._on_funds_moved = on_funds_moved
        self._on_down = on_down
        self.up: set[Exchange] = set()
        # The user stream of the loaded key has come up, or was refused, once.
        self._decided = asyncio.Event()
        self._market: asyncio.Task[None] | None = None
        self._user: asyncio.Task[None] | None = None
        # A key was swapped between two orders: the old one's stream is followed until the new one's is up.
        self._outgoing: Exchange | None = None
        self._seeing_out: asyncio.Task[None] | None = None

    # -- the market ------------------------------------------------------------------------------------------------

    def restart_market(self) -> None:
        """Follow the symbol that is configured now."""
        if self._market is not None:
            self._market.cancel()
            self._market = None
        settings = self._robot.book.settings
        self._robot.note_another_market()
        if settings is not None:
            self._market = self._robot.spawn(self._follow_market(settings.symbol), "market stream")

    async def _follow_market(self, symbol: str) -> None:
        robot = self._robot
        async for event in robot.watcher().market_events(symbol):
            if isinstance(event, StreamUp | StreamDown):
                robot.market_fault = event.reason if isinstance(event, StreamDown) else ""
                continue
            robot.note_trade()
            robot.price_at = event.time
            if event.price != robot.price:
                robot.price = event.price
                if robot.loss is not None:
                    robot.loss.follow_price(event.price)
                if robot.quiet_below is None or event.price >= robot.quiet_below:
                    robot.wake()

    # -- the account -----------------------------------------------------------------------------------------------

    def follow_user(self, exchange: Exchange) -> None:
        """Follow the user stream of a key."""
        self._user = self._robot.spawn(self._follow_user(exchange), "user stream")

    async def _follow_user(self, exchange: Exchange) -> None:
        robot = self._robot
        async for event in exchange.user_events():
            if exchange is not robot.exchange and exchange is not self._outgoing:
                return
            if isinstance(event, StreamDown) and event.code is None:
                robot.note_unanswered(f"the user stream is down: {event.reason}")
            else:
                robot.note_contact()
            if isinstance(event, OrderUpdate):
                self._on_order_update(event)
            elif isinstance(event, FundsMoved):
                self._on_funds_moved(event)
            elif isinstance(event, BalanceUpdate):
                robot.update_balances(event)
            elif isinstance(event, StreamUp):
                self._decided.set()
                if not self.up - {exchange}:
                    robot.open_gap()
                    # What happened while nobody followed is not repeated.
                    robot.doubt_books()
                self.up.add(exchange)
            elif isinstance(event, StreamDown):
                self.up.discard(exchange)
                self._decided.set()
                if exchange is not robot.exchange:
                    return
                robot.log.warning("user stream down: %s", event.reason)
                robot.spawn(self._report_down(event), "second check of the key")

    async def _report_down(self, event: StreamDown) -> None:
        await self._on_down(event)

    async def wait_until_decided(self) -> None:
        """Wait a moment for the user stream to be up or refused: books that agree before it does are doubted again."""
        if not self.up:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STREAM_WITHIN_S):
                    await self._decided.wait()

    async def end_user(self) -> None:
        """End the user stream of the present key."""
        if self._robot.exchange is not None:
            self.up.discard(self._robot.exchange)
        task, self._user = self._user, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def retire_user(self, old: Exchange) -> None:
        """Follow a replaced key's stream until the new one's is up and what is under way has arrived."""
        follower, self._user = self._user, None
        self._outgoing = old
        self._seeing_out = self._robot.spawn(self._see_out(old, follower), "old key's stream")

    async def _see_out(self, old: Exchange, follower: asyncio.Task[None] | None) -> None:
        try:
            await asyncio.sleep(SEE_OUT_S)
        finally:
            self._outgoing = None
            self.up.discard(old)
            if follower is not None:
                follower.cancel()
                await asyncio.gather(follower, return_exceptions=True)
            await old.close()

    async def end_retired(self) -> None:
        """Follow the replaced key's stream no longer."""
        task, self._seeing_out = self._seeing_out, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """End every stream."""
        await self.end_user()
        await self.end_retired()
        if self._market is not None:
            self._market.cancel()
            await asyncio.gather(self._market, return_exceptions=True)
