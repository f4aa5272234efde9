"""An exchange as a robot or a command sees it with one key, how to read its errors, and the issuer of keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

from fortctl.model import (
    AccountState,
    Fill,
    KeyRestrictions,
    MarketEvent,
    OrderRequest,
    OrderState,
    PriceRange,
    SymbolRules,
    UnreadableOrder,
    UserEvent,
)
from fortctl.secret import Secret


class Outcome(StrEnum):
    """How to read a failed call. One function decides it: ``fortctl.exchange.error_codes.classify``."""

    KEY_REFUSED = "key_refused"  # -2008, -2014, -2015, -1022, 401: the key may be lost
    REFUSED = "refused"  # the order or the call is invalid; it had no effect
    ABSENT = "absent"  # -2013, -2011 "Unknown order sent.": no such order, or not visible yet
    DUPLICATE = "duplicate"  # -2010 "Duplicate order sent."
    WOULD_TAKE = "would_take"  # -2010 "Order would immediately match and take."
    NO_FUNDS = "no_funds"  # -2010 insufficient balance
    CLOCK = "clock"  # -1021: the timestamp is outside the receive window; no effect
    BUSY = "busy"  # 429, 418, -1003, -1015: no effect; wait
    UNKNOWN = "unknown"  # time-out, 5xx, -1000, -1001, -1006, -1007, -1008: it may have had its effect
    UNREACHABLE = "unreachable"  # the request never reached the exchange


class ExchangeError(Exception):
    """An exchange call that did not succeed.

    Attributes:
        outcome: how to read it.
        code: Binance's code, or None.
        http_status: the HTTP status, or None.
        message: the exchange's text; it contains no secret.
        retry_after: seconds that the exchange asks to wait, or None.
    """

    def __init__(
        self,
        outcome: Outcome,
        message: str,
        *,
        code: int | None = None,
        http_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{outcome.value}: {message}")
        self.outcome = outcome
        self.message = message
        self.code = code
        self.http_status = http_status
        self.retry_after = retry_after

    def as_json(self) -> dict[str, Any]:
        """Return the error as JSON for another process; :meth:`from_json` reads it."""
        return {
            "outcome": self.outcome.value,
            "message": self.message,
            "code": self.code,
            "http_status": self.http_status,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ExchangeError:
        """Return the error that another process sent."""
        outcome, message = Outcome(fields["outcome"]), str(fields["message"])
        return cls(outcome, message, code=fields.get("code"), http_status=fields.get("http_status"))


class Exchange(Protocol):
    """One key's view of one Binance account. Every method but ``close`` raises ``ExchangeError``."""

    async def server_time(self) -> int:
        """Return the exchange's time in milliseconds since the epoch (public, unsigned)."""

    async def symbol_rules(self, symbol: str) -> SymbolRules:
        """Return the filters of a symbol (public, unsigned)."""

    async def last_price(self, symbol: str) -> Decimal:
        """Return the last trade's price (public, unsigned)."""

    async def price_range(self, symbol: str, since: int) -> PriceRange | None:
        """Return the price range since a time (ms since the epoch); None if there was no trade (public, unsigned)."""

    async def account(self) -> AccountState:
        """Return the account's balances and fee rates."""

    async def key_restrictions(self) -> KeyRestrictions:
        """Return the key's permissions. Raises ``ExchangeError`` (``REFUSED``) on a target without ``/sapi``."""

    async def test_order(self, request: OrderRequest) -> None:
        """Check an order without placing it (``POST /api/v3/order/test``); shows whether the key may trade."""

    async def place(self, request: OrderRequest, *, timestamp: int, recv_window: int) -> OrderState:
        """Place an order; ``timestamp`` and ``recv_window`` (ms) are sent unchanged (robot.md, rule 5)."""

    async def cancel(self, symbol: str, client_order_id: str, *, order_id: int | None = None) -> OrderState:
        """Cancel an order by its client order id, or by ``order_id`` if given (for amended orders)."""

    async def order(self, symbol: str, client_order_id: str, *, order_id: int | None = None) -> OrderState:
        """Return an order by its client order id, or by ``order_id`` if given."""

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderState, ...]:
        """Return the open orders of a symbol, or of all symbols."""

    async def all_orders(
        self, symbol: str, *, start_time: int | None = None, from_id: int | None = None
    ) -> tuple[OrderState, ...]:
        """Return every order of a symbol from a time (ms) or from an order id on."""

    def unreadable_orders(self) -> tuple[UnreadableOrder, ...]:
        """Return the rows of the listings so far that could not be read, and are in none of them."""

    async def previous_client_order_ids(self, symbol: str, order_id: int) -> tuple[str, ...]:
        """Return the client order ids that an order had before it was amended, oldest first."""

    async def trades(self, symbol: str, *, order_id: int | None = None, from_id: int | None = None) -> tuple[Fill, ...]:
        """Return every trade of a symbol from ``from_id`` on, or those of one order."""

    def user_events(self) -> AsyncIterator[UserEvent]:
        """Return the user data stream; it reconnects by itself, and reports so with ``StreamDown`` and ``StreamUp``."""

    def market_events(self, symbol: str) -> AsyncIterator[MarketEvent]:
        """Return the public trade stream of a symbol; it needs no valid key, and reconnects by itself."""

    async def close(self) -> None: ...


@dataclass(frozen=True)
class IssuedKey:
    """A sub-account's key in the exchange's list.

    Attributes:
        permissions: those that are switched on, with the names of :data:`fortctl.model.PERMISSIONS`.
        created_at: milliseconds since the epoch; None: not stated.
    """

    name: str
    api_key: Secret
    permissions: tuple[str, ...] = ()
    created_at: int | None = None


class Issuer(Protocol):
    """Creates and deletes the keys of one sub-account with its master account's key.

    Every method but ``close`` raises ``ExchangeError``. After ``UNKNOWN`` the caller must list the keys to see the
    effect.
    """

    @property
    def email(self) -> str:
        """The address that names the sub-account in the master account's calls."""

    async def create(
        self, name: str, public_key: str, permissions: Collection[str], addresses: Sequence[str]
    ) -> IssuedKey:
        """Register a public key (PEM); the API key has its permissions and IP list from the start.

        Args:
            name: the key's name in the sub-account.
            public_key: the public half, in PEM.
            permissions: names of :data:`fortctl.model.PERMISSIONS`.
            addresses: the only addresses from which the key is accepted; empty: any.
        """

    async def list_keys(self) -> tuple[IssuedKey, ...]:
        """Return every key of the sub-account."""

    async def addresses(self, api_key: Secret) -> tuple[str, ...]:
        """Return a key's IP list; empty if the key is accepted from any address."""

    async def delete(self, api_key: Secret) -> None:
        """Delete a key at the exchange."""

    async def close(self) -> None: ...
