"""What a panic does at the exchange itself: cancels the robot's own orders, and knows which keys are this home's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fortctl.ports import Exchange, ExchangeFault, IssuedKey, Outcome
from fortctl.services.panic_report import KnownKey

AT_ONCE = 16


async def cancel_own(exchange: Exchange, prefix: str) -> int:
    """Cancel the open orders whose names begin with a prefix, one by one and side by side; return how many.

    Args:
        exchange: the robot key's view; closed at the end.

    Raises:
        ExchangeFault: the first that could not be cancelled; every other one was tried.
    """
    slots = asyncio.Semaphore(AT_ONCE)

    async def cancel(symbol: str, name: str) -> None:
        async with slots:
            try:
                await exchange.cancel(symbol, name)
            except ExchangeFault as fault:
                # Filled or cancelled meanwhile.
                if fault.outcome is not Outcome.ABSENT:
                    raise

    try:
        own = [order for order in await exchange.open_orders() if order.client_order_id.startswith(prefix)]
        done = await asyncio.gather(
            *(cancel(order.symbol, order.client_order_id) for order in own), return_exceptions=True
        )
    finally:
        await exchange.close()
    for problem in done:
        if problem is not None:
            raise problem
    return len(own)


def is_ours(issued: IssuedKey, keys: Iterable[KnownKey]) -> bool:
    """Return whether this home held a key: by the whole API key, or by name and tail where the vault stayed shut."""
    api_key = issued.api_key.reveal()
    for key in keys:
        if key.pair is not None and key.pair.api_key.reveal() == api_key:
            return True
        if key.pair is None and key.tail and (key.name, key.tail) == (issued.name, api_key[-4:]):
            return True
    return False
