"""What a panic does at the exchange itself: cancels the robot's own orders, and knows which keys are this home's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fortctl.model import OrderState
from fortctl.ports import Exchange, ExchangeFault, IssuedKey, Outcome
from fortctl.services.panic_report import KnownKey

AT_ONCE = 16


async def cancel_own(exchange: Exchange, prefix: str) -> int:
    """Cancel the open orders whose names begin with a prefix, or did so before a person amended them; return how many.

    One by one and side by side, those that bear the prefix first.

    Args:
        exchange: the robot key's view; closed at the end.

    Raises:
        ExchangeFault: the first that could not be cancelled; every other one was tried.
    """
    slots = asyncio.Semaphore(AT_ONCE)

    async def cancel(order: OrderState) -> int:
        try:
            await exchange.cancel(order.symbol, order.client_order_id)
        except ExchangeFault as fault:
            # Filled or cancelled meanwhile.
            if fault.outcome is not Outcome.ABSENT:
                raise
        return 1

    async def cancel_renamed(order: OrderState) -> int:
        earlier = await exchange.earlier_names(order.symbol, order.order_id)
        return await cancel(order) if any(name.startswith(prefix) for name in earlier) else 0

    async def every(do: Callable[[OrderState], Awaitable[int]], orders: Iterable[OrderState]) -> list[Any]:
        async def one(order: OrderState) -> int:
            async with slots:
                return await do(order)

        return await asyncio.gather(*map(one, orders), return_exceptions=True)

    try:
        orders = await exchange.open_orders()
        bearing = {order for order in orders if order.client_order_id.startswith(prefix)}
        done = await every(cancel, bearing)
        done += await every(cancel_renamed, set(orders) - bearing)
    finally:
        await exchange.close()
    for found in done:
        if isinstance(found, BaseException):
            raise found
    return sum(done)


def is_ours(issued: IssuedKey, keys: Iterable[KnownKey]) -> bool:
    """Return whether this home held a key: by the whole API key, or by name and tail where the vault stayed shut."""
    api_key = issued.api_key.reveal()
    for key in keys:
        if key.pair is not None and key.pair.api_key.reveal() == api_key:
            return True
        if key.pair is None and key.tail and (key.name, key.tail) == (issued.name, api_key[-4:]):
            return True
    return False
