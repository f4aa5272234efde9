"""Ask until old keys are *proved* deleted, by -2008 of apiRestrictions or by the issuer's list.

Source: docs/rotation.md, "What counts as deleted".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace

from fortctl.errors import FortctlError
from fortctl.keys.verification import check_deleted
from fortctl.model import KeyPair
from fortctl.ports import Clock, Exchange, ExchangeError, IssuedKey
from fortctl.services.panic.known_key import KnownKey

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 10.0
IssuerList = Callable[[], Awaitable[Collection[IssuedKey] | None]]
IsSame = Callable[[IssuedKey, KnownKey], bool]


class DeletionWatch:
    """Asks again and again, with ever longer pauses.

    Args:
        connect: makes an exchange adapter for a key.
        listed: returns the issuer's list of the account's keys, or None where no issuer can be asked.
        is_same: whether an issued key is a known key for certain.
    """

    def __init__(
        self, connect: Callable[[KeyPair], Exchange], listed: IssuerList, is_same: IsSame, clock: Clock
    ) -> None:
        self._connect = connect
        self._listed = listed
        self._is_same = is_same
        self._clock = clock

    async def watch(self, keys: Sequence[KnownKey], wait_s: float) -> list[KnownKey]:
        """Return the keys that are not proved deleted after *wait_s* seconds at most."""
        deadline = self._clock.monotonic() + wait_s
        alive, pause = list(keys), FIRST_PAUSE_S
        while True:
            listed = await self._list()
            alive, retry_after_s = await self._check(alive, listed)
            now = self._clock.monotonic()
            # A key that cannot be asked about is not proved by waiting, unless an issuer lists it.
            is_hopeless = all(key.pair is None and (listed is None or not key.listed) for key in alive)
            if not alive or is_hopeless or now >= deadline:
                return alive
            await self._clock.sleep(min(max(pause, retry_after_s), max(0.0, deadline - now)))
            pause = min(pause * 1.5, LONGEST_PAUSE_S)

    async def _check(self, keys: list[KnownKey], listed: Collection[IssuedKey] | None) -> tuple[list[KnownKey], float]:
        """Return the keys that are not proved deleted, and how long the exchange wants to be left alone (s)."""
        if listed is not None:
            named = [(key, any(self._is_same(issued, key) for issued in listed)) for key in keys]
            # Named before and no longer: that is a proof. Never named is none (it may be another sub-account's list).
            keys = [
                replace(key, listed=key.listed or is_named) for key, is_named in named if is_named or not key.listed
            ]
        proofs = await asyncio.gather(*(is_proved_deleted(self._connect, key, self._clock) for key in keys))
        alive = [key for key, (is_deleted, _wait_s) in zip(keys, proofs, strict=True) if not is_deleted]
        return alive, max((wait_s for _is_deleted, wait_s in proofs), default=0.0)

    async def _list(self) -> Collection[IssuedKey] | None:
        try:
            return await self._listed()
        except (FortctlError, ExchangeError):
            return None


async def is_proved_deleted(connect: Callable[[KeyPair], Exchange], key: KnownKey, clock: Clock) -> tuple[bool, float]:
    """Ask the exchange; return whether the key is proved deleted, and when to ask again at the earliest (s)."""
    if key.pair is None:
        return False, 0.0
    try:
        exchange = connect(key.pair)
    except FortctlError:
        return False, 0.0
    try:
        status = await check_deleted(exchange, None, clock)
    finally:
        await exchange.close()
    return status.state == "dead", (status.fault.retry_after or 0.0) if status.fault is not None else 0.0
