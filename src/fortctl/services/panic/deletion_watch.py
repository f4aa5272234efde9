"""Watch old keys until they are *proved* dead (robot.md, "Dead"): -2008 of apiRestrictions, or the issuer's list."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace

from fortctl.errors import FortctlError
from fortctl.model import KeyPair
from fortctl.ports import Clock, Exchange, ExchangeError, IssuedKey
from fortctl.services.panic.report import KnownKey

UNKNOWN_KEY = -2008
FIRST_LOOK_S, LONGEST_S = 0.25, 10.0
Listed = Callable[[], Awaitable[Collection[IssuedKey] | None]]
Same = Callable[[IssuedKey, KnownKey], bool]


class DeletionWatch:
    """Asks again and again, ever more slowly.

    Args:
        connect: makes an exchange adapter for a key.
        alive: the issuer's list of the account's keys, or None where no issuer can be asked.
        same: whether one of that list is a key for certain.
        clock: the clock.
    """

    def __init__(self, connect: Callable[[KeyPair], Exchange], alive: Listed, same: Same, clock: Clock) -> None:
        self._connect = connect
        self._alive = alive
        self._same = same
        self._clock = clock

    async def watch(self, keys: Sequence[KnownKey], wait_s: float) -> list[KnownKey]:
        """Return the keys of which it is not proved that they are dead, after ``wait_s`` seconds at most."""
        deadline = self._clock.monotonic() + wait_s
        left, pause = list(keys), FIRST_LOOK_S
        while True:
            listed = await self._list()
            left, wait = await self._once(left, listed)
            now = self._clock.monotonic()
            # What cannot be asked about will not be proved by waiting, unless an issuer lists it.
            hopeless = all(key.pair is None and (listed is None or not key.listed) for key in left)
            if not left or hopeless or now >= deadline:
                return left
            await self._clock.sleep(min(max(pause, wait), max(0.0, deadline - now)))
            pause = min(pause * 1.5, LONGEST_S)

    async def _once(self, keys: list[KnownKey], listed: Collection[IssuedKey] | None) -> tuple[list[KnownKey], float]:
        if listed is not None:
            seen = [(key, any(self._same(one, key) for one in listed)) for key in keys]
            # Named before, and no longer: that is a proof. Never named is none (it may be another sub-account's list).
            keys = [replace(key, listed=key.listed or there) for key, there in seen if there or not key.listed]
        looks = await asyncio.gather(*(proved_dead(self._connect, key) for key in keys))
        left = [key for key, (dead, _wait) in zip(keys, looks, strict=True) if not dead]
        return left, max((wait for _dead, wait in looks), default=0.0)

    async def _list(self) -> Collection[IssuedKey] | None:
        try:
            return await self._alive()
        except (FortctlError, ExchangeError):
            return None


async def proved_dead(connect: Callable[[KeyPair], Exchange], key: KnownKey) -> tuple[bool, float]:
    """Return whether a key is proved dead by one look, and how long the exchange wants to be left alone (s)."""
    if key.pair is None:
        return False, 0.0
    try:
        exchange = connect(key.pair)
    except FortctlError:
        return False, 0.0
    try:
        await exchange.key_restrictions()
    except ExchangeError as fault:
        return fault.code == UNKNOWN_KEY, fault.retry_after or 0.0
    finally:
        await exchange.close()
    return False, 0.0
