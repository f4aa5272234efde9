"""What a panic does with an issuer: deletes the account's keys at the exchange, those too that are yet to come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fortctl.errors import ExchangeUnreachableError, FortctlError
from fortctl.model import KeyPair
from fortctl.ports import Clock, Exchange, IssuedKey, Issuer
from fortctl.services.keys.issuer import delete_keys, keys_of
from fortctl.services.panic.deletion_watch import proved_dead
from fortctl.services.panic.key_inventory import KeyInventory

LOOK_AGAIN_S = 0.5


class KeyDeletion:
    """Deletes one account's keys.

    Args:
        issuer: who can; stays open.
        memory: which keys are the account's; hears what the list says.
        connect: makes an exchange adapter for a key.
        clock: the clock.
        within_s: how long one round may take (s).
    """

    def __init__(
        self,
        issuer: Issuer,
        memory: KeyInventory,
        connect: Callable[[KeyPair], Exchange],
        clock: Clock,
        within_s: float,
    ) -> None:
        self._issuer = issuer
        self._memory = memory
        self._connect = connect
        self._clock = clock
        self._within_s = within_s
        self._gone: list[str] = []

    async def run(self, orders: Callable[[], Awaitable[object]]) -> str:
        """Delete every key; the one that cancels orders only when that is done, since afterwards it cancels nothing.

        Args:
            orders: ends when nothing is left to cancel, or can be done about it.

        Raises:
            FortctlError, TimeoutError: one may be left.
        """
        try:
            await self._round(lambda key: not self._memory.cancels(key))
        except (FortctlError, TimeoutError):
            pass  # It is tried again below, with all the others.
        await orders()
        patience = self._clock.monotonic() + self._within_s
        while True:
            late = self._clock.now_ms() >= max((one.until_ms for one in self._memory.issued), default=0)
            try:
                await self._round(lambda key: True)
                if late or not self._memory.issued:
                    break
            except (FortctlError, TimeoutError) as error:
                if late and (not _passes(error) or self._clock.monotonic() >= patience):
                    raise
            await self._clock.sleep(LOOK_AGAIN_S)
        await self._ask_about_the_others()
        return f"deleted at the exchange: {', '.join(self._gone)}" if self._gone else "none of ours is left there"

    async def _round(self, meant: Callable[[IssuedKey], bool]) -> None:
        async with asyncio.timeout(self._within_s):
            self._memory.heard(await keys_of(self._issuer), self._clock.now_ms())
            try:
                names = await delete_keys(self._issuer, lambda key: self._memory.is_ours(key) and meant(key))
                self._gone += names
            finally:
                self._memory.heard(await keys_of(self._issuer), self._clock.now_ms())

    async def _ask_about_the_others(self) -> None:
        """Ask once about each key that the list does not name: somebody may have deleted it before."""
        keys = [key for key in self._memory.alive() if not key.listed and key.pair is not None]
        looks = await asyncio.gather(*(proved_dead(self._connect, key) for key in keys))
        self._memory.mark_deleted(key for key, (dead, _wait) in zip(keys, looks, strict=True) if dead)


def _passes(error: FortctlError | TimeoutError) -> bool:
    """Return whether a failure may be over in a moment: a lost answer, not a refusal."""
    return isinstance(error, ExchangeUnreachableError | TimeoutError)
