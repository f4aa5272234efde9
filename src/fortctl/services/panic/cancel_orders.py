"""What a panic does at the exchange with the robot's key: cancels its own orders, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fortctl.model import OrderState
from fortctl.ports import Clock, Exchange, ExchangeError, Outcome

AT_ONCE = 16
LOOK_AGAIN_S = 0.5


async def cancel_until(exchange: Exchange, prefix: str, clock: Clock, until: float, look_s: float) -> int:
    """Cancel the robot's own orders, again and again until no order of its can come to be any more; return how many.

    What a robot sent before the latch, and told nobody of, is an order at the exchange until its receive window is over
    (robot.md, rule 2). The last look begins only then.

    Args:
        exchange: the robot key's view; closed at the end.
        prefix: of the robot's client order ids.
        clock: the clock.
        until: when that is (``clock.monotonic()``).
        look_s: how long one look may take (s).

    Raises:
        ExchangeError, TimeoutError: the last look failed, or the key is refused.
    """
    count, strangers = 0, set[int]()
    try:
        while True:
            last = clock.monotonic() >= until
            try:
                async with asyncio.timeout(look_s):
                    count += await cancel_own(exchange, prefix, strangers)
            except (ExchangeError, TimeoutError) as fault:
                if last or _hopeless(fault, until - clock.monotonic()):
                    raise
            if last:
                return count
            await clock.sleep(min(LOOK_AGAIN_S, max(0.0, until - clock.monotonic())))
    finally:
        await exchange.close()


def _hopeless(fault: ExchangeError | TimeoutError, left_s: float) -> bool:
    """Return whether asking again within some seconds can only fail."""
    if isinstance(fault, TimeoutError):
        return False
    return fault.outcome is Outcome.KEY_REFUSED or (fault.retry_after or 0.0) > left_s


async def cancel_own(exchange: Exchange, prefix: str, strangers: set[int]) -> int:
    """Cancel the open orders whose names begin with a prefix, or did so before a person amended them; return how many.

    One by one and side by side, those that bear the prefix first.

    Args:
        strangers: the numbers of orders that are known to be a person's; what is found to be one is added.

    Raises:
        ExchangeError: the first that could not be cancelled; every other one was tried.
    """
    slots = asyncio.Semaphore(AT_ONCE)

    async def cancel(order: OrderState) -> int:
        try:
            await exchange.cancel(order.symbol, order.client_order_id)
        except ExchangeError as fault:
            # Filled or cancelled meanwhile.
            if fault.outcome is not Outcome.ABSENT:
                raise
        return 1

    async def cancel_renamed(order: OrderState) -> int:
        earlier = await exchange.earlier_names(order.symbol, order.order_id)
        if any(name.startswith(prefix) for name in earlier):
            return await cancel(order)
        strangers.add(order.order_id)
        return 0

    async def every(do: Callable[[OrderState], Awaitable[int]], orders: Iterable[OrderState]) -> list[Any]:
        async def one(order: OrderState) -> int:
            async with slots:
                return await do(order)

        return await asyncio.gather(*map(one, orders), return_exceptions=True)

    orders = await exchange.open_orders()
    bearing = {order for order in orders if order.client_order_id.startswith(prefix)}
    done = await every(cancel, bearing)
    done += await every(cancel_renamed, {order for order in set(orders) - bearing if order.order_id not in strangers})
    for found in done:
        if isinstance(found, BaseException):
            raise found
    return sum(done)
