"""Delete the account's keys at the exchange, where there is an issuer; also those that are yet to be made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fortctl.errors import ExchangeUnreachableError, FortctlError
from fortctl.model import KeyPair
from fortctl.ports import Clock, Exchange, IssuedKey, Issuer
from fortctl.services.keys.issuer import delete_keys, keys_of
from fortctl.services.panic.deletion_watch import is_proved_deleted
from fortctl.services.panic.key_inventory import KeyInventory

RETRY_S = 0.5


class KeyDeletion:
    """Deletes one account's keys.

    Args:
        issuer: deletes them; stays open.
        inventory: the account's keys; learns what the issuer's list says.
        connect: makes an exchange adapter for a key.
        clock: the clock.
        within_s: how long one attempt may take (s).
    """

    def __init__(
        self,
        issuer: Issuer,
        inventory: KeyInventory,
        connect: Callable[[KeyPair], Exchange],
        clock: Clock,
        within_s: float,
    ) -> None:
        self._issuer = issuer
        self._inventory = inventory
        self._connect = connect
        self._clock = clock
        self._within_s = within_s
        self._deleted: list[str] = []

    async def run(self, orders_settled: Callable[[], Awaitable[object]]) -> str:
        """Delete every key; return what was deleted, as text.

        The key that cancels orders is deleted last: once deleted it cancels nothing.

        Args:
            orders_settled: returns when the step that cancels orders is over, and the rotation's names are known.

        Raises:
            FortctlError, TimeoutError: a key may be left.
        """
        try:
            await self._delete(lambda key: not self._inventory.can_cancel_orders(key))
        except (FortctlError, TimeoutError):
            pass  # It is tried again below, with all the others.
        await orders_settled()
        give_up_at = self._clock.monotonic() + self._within_s
        while True:
            # From here on no key of the rotation can be made any more.
            all_made = self._clock.now_ms() >= max((entry.until_ms for entry in self._inventory.issued), default=0)
            try:
                await self._delete(lambda key: True)
                if all_made or not self._inventory.issued:
                    break
            except (FortctlError, TimeoutError) as error:
                if all_made and (not _is_transient(error) or self._clock.monotonic() >= give_up_at):
                    raise
            await self._clock.sleep(RETRY_S)
        await self._check_unlisted()
        return f"deleted at the exchange: {', '.join(self._deleted)}" if self._deleted else "none of ours is left there"

    async def _delete(self, chosen: Callable[[IssuedKey], bool]) -> None:
        """List the keys, delete those of ours that are chosen, and list them again."""
        async with asyncio.timeout(self._within_s):
            self._inventory.update_from_list(await keys_of(self._issuer), self._clock.now_ms())
            try:
                names = await delete_keys(self._issuer, lambda key: self._inventory.is_ours(key) and chosen(key))
                self._deleted += names
            finally:
                self._inventory.update_from_list(await keys_of(self._issuer), self._clock.now_ms())

    async def _check_unlisted(self) -> None:
        """Ask the exchange once about each key that the list does not name: it may have been deleted before."""
        keys = [key for key in self._inventory.alive() if not key.listed and key.pair is not None]
        proofs = await asyncio.gather(*(is_proved_deleted(self._connect, key, self._clock) for key in keys))
        self._inventory.mark_deleted(key for key, (dead, _wait_s) in zip(keys, proofs, strict=True) if dead)


def _is_transient(error: FortctlError | TimeoutError) -> bool:
    """Return whether another attempt may succeed: an answer was lost, nothing was refused."""
    return isinstance(error, ExchangeUnreachableError | TimeoutError)
