"""What a person may see of the account, read with the site key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from fortctl.errors import FortctlError, NotFoundError
from fortctl.model import AccountState, Balance, Fill, KeyVerdict, OrderState, UnreadableOrder
from fortctl.ports import Exchange, ExchangeError, Outcome
from fortctl.services.exchange_errors import to_command_error
from fortctl.services.keys.results import COPY_WARNING, Warnings
from fortctl.services.keys.service import Connect
from fortctl.services.site_vault import SiteVault
from fortctl.services.stored_key import StoredKey
from fortctl.timestamps import rfc3339

T = TypeVar("T")
UNREADABLE_ORDER = "UNREADABLE_ORDER"


class AccountViews:
    """Reads of one account.

    Args:
        vault: the site's vault for this account.
        connect: makes an exchange adapter for a key pair.
    """

    def __init__(self, vault: SiteVault, connect: Connect) -> None:
        self._vault = vault
        self._connect = connect

    async def balances(self) -> tuple[list[Balance], Warnings]:
        """Return the balances that are not zero."""
        state, warnings = await self._read("reading the balances", _account)
        return [balance for balance in state.balances if balance.free or balance.locked], warnings

    async def orders(self, symbol: str | None, *, every: bool) -> tuple[Sequence[OrderState], Warnings]:
        """Return the open orders, or all orders of a symbol."""

        async def ask(exchange: Exchange) -> tuple[tuple[OrderState, ...], tuple[UnreadableOrder, ...]]:
            wants_all = every and symbol is not None
            orders = await (exchange.all_orders(symbol or "") if wants_all else exchange.open_orders(symbol))
            return orders, exchange.unreadable_orders()

        (orders, unreadable), warnings = await self._read("reading the orders", ask)
        unlisted = [(UNREADABLE_ORDER, f"{row}; it is not listed here: see it on Binance's page") for row in unreadable]
        return orders, (*warnings, *unlisted)

    async def trades(self, symbol: str) -> tuple[Sequence[Fill], Warnings]:
        """Return the account's trades of a symbol."""

        async def ask(exchange: Exchange) -> tuple[Fill, ...]:
            return await exchange.trades(symbol)

        return await self._read("reading the trades", ask)

    async def _read(self, doing: str, ask: Callable[[Exchange], Awaitable[T]]) -> tuple[T, Warnings]:
        key, warnings = self._reading_key()
        exchange = self._connect(key.pair)
        try:
            answer = await ask(exchange)
        except ExchangeError as fault:
            if fault.outcome is Outcome.KEY_REFUSED:
                refused = KeyVerdict(False, "refused", exchange_code=fault.code, http_status=fault.http_status)
                self._vault.record_verdict(refused)
            raise _explained(to_command_error(fault, doing), self._vault, key) from None
        finally:
            await exchange.close()
        if key.rejected_since is not None:
            self._vault.record_verdict(KeyVerdict(True, "ok"))
        return answer, warnings

    def _reading_key(self) -> tuple[StoredKey, Warnings]:
        site = self._vault.site_key()
        if site is not None:
            return site, ()
        copy = self._vault.robot_copy()
        if copy is not None:
            return copy, (COPY_WARNING,)
        raise NotFoundError(
            f"account {self._vault.account} has no key to read with",
            hint="create a key with 'Enable Reading' at Binance, then 'fortctl keys add --role site'",
        )


async def _account(exchange: Exchange) -> AccountState:
    return await exchange.account()


def _explained(error: FortctlError, vault: SiteVault, used: StoredKey) -> FortctlError:
    """Add to an error which key was refused and since when: what was read before is stale; no other key is used."""
    if error.code == "KEY_REJECTED":
        role = "robot" if vault.site_key() is None else "site"
        stored = vault.site_key() or vault.robot_copy() or used
        error.details.update(
            {
                "role": role,
                "reason": "refused",
                "stale": True,
                "verified_at": rfc3339(stored.verified_at),
                "rejected_since": rfc3339(stored.rejected_since),
            }
        )
        verify = f"'fortctl --account {vault.account} keys verify' explains why"
        error.hint = f"{verify}; 'keys change --role {role}' replaces the key"
    return error


def balance_as_json(balance: Balance) -> dict[str, Any]:
    """Return one entry of ``balances[]`` as JSON."""
    return {"asset": balance.asset, "free": f"{balance.free:f}", "locked": f"{balance.locked:f}"}


def order_as_json(order: OrderState) -> dict[str, Any]:
    """Return one entry of ``orders[]`` as JSON."""
    return {
        "client_order_id": order.client_order_id,
        "order_id": order.order_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "type": order.type,
        "price": f"{order.price:f}",
        "quantity": f"{order.quantity:f}",
        "filled": f"{order.executed:f}",
        "status": order.status.value,
        "time": rfc3339(order.time),
    }


def fill_as_json(fill: Fill) -> dict[str, Any]:
    """Return one entry of ``trades[]`` as JSON."""
    return {
        "trade_id": fill.trade_id,
        "order_id": fill.order_id,
        "symbol": fill.symbol,
        "side": fill.side.value,
        "price": f"{fill.price:f}",
        "quantity": f"{fill.quantity:f}",
        "quote": f"{fill.quote:f}",
        "commission": f"{fill.commission:f}",
        "commission_asset": fill.commission_asset,
        "maker": fill.is_maker,
        "time": rfc3339(fill.time),
    }
