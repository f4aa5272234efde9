"""What the exchange can do, how its refusals are read, and who makes and deletes keys there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
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
    UserEvent,
)
from fortctl.secret import Secret


class Outcome(StrEnum):
    """How a refusal or silence of the exchange is to be read. One function decides it: ``exchange.codes.classify``."""

    KEY_REFUSED = "key_refused"  # -2008 -2014 -2015 -1022 401: the key may be lost
    REFUSED = "refused"  # the order or the call is wrong; nothing happened
    ABSENT = "absent"  # -2013, -2011 "Unknown order sent.": absent, or not visible yet
    DUPLICATE = "duplicate"  # -2010 "Duplicate order sent."
    WOULD_TAKE = "would_take"  # -2010 "Order would immediately match and take."
    NO_FUNDS = "no_funds"  # -2010 insufficient balance
    CLOCK = "clock"  # -1021
    BUSY = "busy"  # 429, 418, -1003, -1015: nothing happened, wait
    UNKNOWN = "unknown"  # time-out, 5xx, -1000, -1001, -1006, -1007 (-1008 is verified, then retried)
    UNREACHABLE = "unreachable"  # the request provably never left


class ExchangeError(Exception):
    """An exchange call that did not succeed.

    Attributes:
        outcome: how to read it.
        code: Binance's code or None.
        http_status: HTTP status or None.
        message: the exchange's text (no secret in it).
        retry_after: seconds, where the exchange said so.
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
        """Return it as it travels to another process; :meth:`from_json` makes it again."""
        return {
            "outcome": self.outcome.value,
            "message": self.message,
            "code": self.code,
            "http_status": self.http_status,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> ExchangeError:
        outcome, message = Outcome(told["outcome"]), str(told["message"])
        return cls(outcome, message, code=told.get("code"), http_status=told.get("http_status"))


class Exchange(Protocol):
    """One key's view of one Binance account. Every method but ``close`` raises ``ExchangeError``."""

    async def server_time(self) -> int: ...

    async def symbol_rules(self, symbol: str) -> SymbolRules: ...

    async def last_price(self, symbol: str) -> Any:
        """Return the last trade's price as ``Decimal`` (public, unsigned)."""

    async def price_range(self, symbol: str, since: int) -> PriceRange | None:
        """Return where the market was since a time (ms); None where nothing was traded (public, unsigned)."""

    async def account(self) -> AccountState: ...

    async def key_restrictions(self) -> KeyRestrictions: ...

    async def test_order(self, request: OrderRequest) -> None:
        """``POST /api/v3/order/test``: no effect; shows whether the key may trade."""

    async def place(self, request: OrderRequest, *, timestamp: int, recv_window: int) -> OrderState:
        """Place an order. ``timestamp`` (ms) and ``recv_window`` (ms) go out as given (robot.md, rule 5)."""

    async def cancel(self, symbol: str, client_order_id: str, *, order_id: int | None = None) -> OrderState:
        """Cancel an order by our name for it, or by the exchange's number where that is given (an amended one)."""

    async def order(self, symbol: str, client_order_id: str, *, order_id: int | None = None) -> OrderState:
        """Return an order by our name for it, or by the exchange's number where that is given."""

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderState, ...]: ...

    async def all_orders(
        self, symbol: str, *, start_time: int | None = None, from_id: int | None = None
    ) -> tuple[OrderState, ...]:
        """All orders of a symbol, from a time or from an order's number on; paged inside."""

    async def previous_client_order_ids(self, symbol: str, order_id: int) -> tuple[str, ...]:
        """The client order ids that an order bore before it was amended, oldest first; empty where it never was."""

    async def trades(self, symbol: str, *, order_id: int | None = None, from_id: int | None = None) -> tuple[Fill, ...]:
        """All trades from ``from_id`` on, or those of one order; paged inside."""

    def user_events(self) -> AsyncIterator[UserEvent]:
        """The user data stream; reconnects and subscribes again by itself, saying so with StreamDown/StreamUp."""

    def market_events(self, symbol: str) -> AsyncIterator[MarketEvent]:
        """The public trade stream of one symbol; needs no accepted key; reconnects by itself."""

    async def close(self) -> None: ...


@dataclass(frozen=True)
class IssuedKey:
    """A sub-account's key as the exchange's list names it.

    Attributes:
        permissions: the rights ticked, as :data:`fortctl.model.PERMISSIONS` names them.
        created_at: milliseconds since the epoch, or None where the exchange did not say.
    """

    name: str
    api_key: Secret
    permissions: tuple[str, ...] = ()
    created_at: int | None = None


class Issuer(Protocol):
    """Makes and deletes the keys of one sub-account through its master account's key.

    Every method but ``close`` raises ``ExchangeError``. After ``UNKNOWN`` the caller lists before it believes anything.
    """

    @property
    def email(self) -> str:
        """What the master account knows the sub-account by."""

    async def create(
        self, name: str, public_key: str, permissions: Collection[str], addresses: Sequence[str]
    ) -> IssuedKey:
        """Make a key of a public half (PEM) made here; rights and IP list are set from its birth.

        Args:
            addresses: the only addresses that the key is accepted from; empty: from any.
        """

    async def list_keys(self) -> tuple[IssuedKey, ...]:
        """Return every key of the sub-account; paged inside."""

    async def addresses(self, api_key: Secret) -> tuple[str, ...]:
        """Return a key's IP list; empty when it is accepted from any address."""

    async def delete(self, api_key: Secret) -> None:
        """Delete a key at the exchange."""

    async def close(self) -> None: ...
