"""Cancel the robot's own orders with its key, and no other order of the account."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from fortctl.model import OrderState
from fortctl.ports import Clock, Exchange, ExchangeError, Outcome
from fortctl.services.panic.ports import JournaledOrder

PARALLEL = 16
RETRY_S = 0.5


@dataclass(frozen=True)
class CancelledOrders:
    """What was cancelled.

    Attributes:
        count: orders that were cancelled, or had ended meanwhile.
        unlisted: client order ids that the journal named, that the exchange's list left out, and that were open.
    """

    count: int
    unlisted: tuple[str, ...] = ()


async def cancel_until(
    exchange: Exchange,
    prefix: str,
    clock: Clock,
    until: float,
    query_s: float,
    journaled: Sequence[JournaledOrder] = (),
) -> CancelledOrders:
    """Cancel the robot's own orders until none that it sent can arrive any more.

    The exchange's list alone is not trusted: it has been empty with four orders open. So the orders that the robot's
    journal holds as open are cancelled by their names too, once, after the last list.

    An order that the robot sent before the latch, and journaled as sent, may arrive at the exchange until its receive
    window is over (robot.md, rule 2). The last query begins only then.

    Args:
        exchange: acts with the robot's key; closed at the end.
        prefix: of the robot's client order ids.
        until: when the receive window is over (``clock.monotonic()``).
        query_s: how long one round of listing and cancelling may take (s).
        journaled: what the journal holds as open.

    Raises:
        ExchangeError, TimeoutError: the last round failed, or the key is refused.
    """
    count, foreign = 0, set[int]()
    try:
        while True:
            is_last = clock.monotonic() >= until
            try:
                async with asyncio.timeout(query_s):
                    count += await cancel_own(exchange, prefix, foreign)
            except (ExchangeError, TimeoutError) as error:
                if is_last or _is_permanent(error, until - clock.monotonic()):
                    raise
            if is_last:
                async with asyncio.timeout(query_s):
                    unlisted = await cancel_journaled(exchange, journaled)
                return CancelledOrders(count + len(unlisted), unlisted)
            await clock.sleep(min(RETRY_S, max(0.0, until - clock.monotonic())))
    finally:
        await exchange.close()


def _is_permanent(error: ExchangeError | TimeoutError, left_s: float) -> bool:
    """Return whether another round within *left_s* seconds can only fail."""
    if isinstance(error, TimeoutError):
        return False
    return error.outcome is Outcome.KEY_REFUSED or (error.retry_after or 0.0) > left_s


async def cancel_journaled(exchange: Exchange, journaled: Sequence[JournaledOrder]) -> tuple[str, ...]:
    """Cancel orders by their names (an amended one by its number); return the names of those that were open.

    Raises:
        ExchangeError: the first that could not be cancelled; every other one was tried.
    """
    slots = asyncio.Semaphore(PARALLEL)

    async def cancel(order: JournaledOrder) -> str:
        async with slots:
            try:
                await exchange.cancel(order.symbol, order.client_order_id, order_id=order.order_id or None)
            except ExchangeError as error:
                if error.outcome is not Outcome.ABSENT:
                    raise
                return ""
        return order.client_order_id

    names: list[str] = []
    for result in await asyncio.gather(*map(cancel, journaled), return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        names += [result] if result else []
    return tuple(names)


async def cancel_own(exchange: Exchange, prefix: str, foreign: set[int]) -> int:
    """Cancel the open orders whose client order id begins with *prefix*, or did before a person amended them.

    Args:
        foreign: the ids of orders that are known not to be the robot's; those that prove not to be are added.

    Returns:
        How many were cancelled, or had ended meanwhile.

    Raises:
        ExchangeError: the first that could not be cancelled; every other one was tried.
    """
    slots = asyncio.Semaphore(PARALLEL)

    async def cancel(order: OrderState) -> int:
        try:
            await exchange.cancel(order.symbol, order.client_order_id)
        except ExchangeError as error:
            # Filled or cancelled meanwhile.
            if error.outcome is not Outcome.ABSENT:
                raise
        return 1

    async def cancel_renamed(order: OrderState) -> int:
        earlier = await exchange.previous_client_order_ids(order.symbol, order.order_id)
        if any(name.startswith(prefix) for name in earlier):
            return await cancel(order)
        foreign.add(order.order_id)
        return 0

    async def for_each(do: Callable[[OrderState], Awaitable[int]], orders: Iterable[OrderState]) -> list[object]:
        async def limited(order: OrderState) -> int:
            async with slots:
                return await do(order)

        return await asyncio.gather(*map(limited, orders), return_exceptions=True)

    orders = await exchange.open_orders()
    own = {order for order in orders if order.client_order_id.startswith(prefix)}
    results = await for_each(cancel, own)
    others = {order for order in set(orders) - own if order.order_id not in foreign}
    results += await for_each(cancel_renamed, others)
    count = 0
    for result in results:
        if isinstance(result, BaseException):
            raise result
        assert isinstance(result, int)
        count += result
    return count
