"""Calls and their parameters: what a call is, and how its parameters are read or refused (rest-api.md). No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from fortctl.paper.engine import errors
from fortctl.paper.engine.accounts import Account, ApiKey
from fortctl.paper.engine.exchange import Engine
from fortctl.paper.engine.state import ExchangeState
from fortctl.paper.engine.symbols import STATUSES, Symbol

CLIENT_ID = "^[a-zA-Z0-9-_]{1,36}$"
NUMBER = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
WHOLE = "^[0-9]{1,20}$"
SYMBOL = r"^[\w-_.]{1,20}$"
SIGNED = ("timestamp", "signature", "recvWindow")
CONDITIONAL = ("quantity", "quoteOrderQty", "price", "stopPrice", "timeInForce", "trailingDelta")
DECIMAL = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
LARGEST = 2**63 - 1

Values = Mapping[str, str]


@dataclass(slots=True)
class Context:
    """What a handler receives besides the parameters.

    Attributes:
        limits: the limits in force, as ``exchangeInfo`` states them.
        order_counts: the calling account's order limits with their counts.
        address: the client's IP address.
        new_key: generates a random API key or secret.
    """

    engine: Engine
    now: int
    key: ApiKey | None
    limits: list[dict[str, Any]]
    order_counts: Callable[[], list[dict[str, Any]]] = list
    address: str = ""
    new_key: Callable[[], str] = lambda: "0" * 64

    @property
    def state(self) -> ExchangeState:
        return self.engine.state

    @property
    def account(self) -> Account:
        """The account of the calling key."""
        assert self.key is not None
        return self.state.accounts[self.key.account]


Handler = Callable[[Context, Values], Any]


@dataclass(frozen=True)
class Call:
    """One endpoint or method.

    Attributes:
        security: ``NONE``, ``USER_DATA`` or ``TRADE``.
        weight: request weight, or a function of the parameters (rest-api.md).
        required, optional: parameter names besides those of every signed request.
        orders: how many orders it counts as.
        over_limit: handles a request that exceeds the order count; by default it is refused.
        free: a success weighs nothing (since 2026-04-02).
        body_only: parameters that are refused in the URL.
        lenient: unknown parameters are ignored, as under ``/sapi``.
    """

    handler: Handler
    security: str = "NONE"
    weight: int | Callable[[Values], int] = 1
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    orders: int = 0
    over_limit: Callable[[Context, Values, errors.BinanceError], Any] | None = None
    free: bool = False
    body_only: tuple[str, ...] = ()
    lenient: bool = False

    @cached_property
    def known(self) -> frozenset[str]:
        """The names of every parameter that the call reads."""
        signed = SIGNED if self.security != "NONE" else ()
        return frozenset((*self.required, *self.optional, *signed, "apiKey", "returnRateLimits"))

    def weight_of(self, values: Values) -> int:
        return self.weight if isinstance(self.weight, int) else self.weight(values)


def check_parameters(call: Call, values: Values) -> None:
    """Refuse missing and unknown parameters as Binance does."""
    for name in call.required:
        if not values.get(name):
            raise errors.missing(name)
    known = call.known
    unknown = [name for name in values if name not in known]
    if unknown and not call.lenient:
        read = len(values) - len(unknown)
        text_ = f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(values)}'."
        raise errors.BinanceError(-1104, text_)
    if "" in values.values():
        for name in call.optional:
            # Parameters that only some order types require are reported as missing when the order is read.
            if values.get(name) == "" and name not in CONDITIONAL:
                raise errors.BinanceError(-1105, f"Parameter '{name}' was empty.")


def find_symbol(context: Context, name: str) -> Symbol:
    symbol = context.state.symbols.get(name)
    if symbol is None:
        raise errors.BAD_SYMBOL if re.fullmatch(r"[\w\-.]{1,20}", name) else errors.illegal("symbol", SYMBOL)
    return symbol


def symbol_named(context: Context, values: Values) -> Symbol:
    return find_symbol(context, values.get("symbol", ""))


def symbols_named(context: Context, values: Values) -> list[Symbol]:
    """Return the symbols that ``symbol``, ``symbols`` or ``symbolStatus`` select; all without any of them."""
    if "symbol" in values and "symbols" in values:
        raise errors.bad_combination()
    if "symbol" in values:
        symbols = [symbol_named(context, values)]
    elif "symbols" in values:
        symbols = [find_symbol(context, name) for name in _names(values["symbols"])]
        if len({symbol.name for symbol in symbols}) < len(symbols):
            raise errors.BinanceError(-1151, "Symbol is present multiple times in the list.")
    else:
        symbols = list(context.state.symbols.values())
    status = values.get("symbolStatus")
    if status is not None:
        if status not in STATUSES:
            raise errors.BinanceError(-1122, "Invalid symbolStatus.")
        kept = [symbol for symbol in symbols if symbol.status == status]
        if len(kept) < len(symbols) and ("symbol" in values or "symbols" in values):
            raise errors.BinanceError(-1220, "The symbol's status does not match the requested symbolStatus.")
        symbols = kept
    return symbols


def _names(value: str) -> list[str]:
    legal = r'^\["[\w-_.]{1,20}"(,"[\w-_.]{1,20}")*\]$'
    try:
        names = json.loads(value)
    except (ValueError, RecursionError):
        raise errors.illegal("symbols", legal) from None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise errors.illegal("symbols", legal)
    return names


def decimal_of(values: Values, name: str) -> Decimal:
    value = values.get(name, "")
    if not value:
        raise errors.missing(name)
    if DECIMAL.fullmatch(value) is None:
        raise errors.illegal(name, NUMBER)
    if len(value.partition(".")[2].rstrip("0")) > 8:
        raise errors.BinanceError(-1111, errors.BAD_PRECISION.format(name))
    return Decimal(value)


def whole_of(values: Values, name: str) -> int | None:
    value = values.get(name)
    if value in (None, ""):
        return None
    if not re.fullmatch("[0-9]{1,20}", value):
        raise errors.illegal(name, WHOLE)
    number = int(value)
    if number > LARGEST:
        raise errors.BinanceError(-1108, f"Parameter '{name}' overflowed.")
    return number


def time_of(values: Values, name: str) -> int | None:
    """Return a time in ms; it may be given in µs."""
    number = whole_of(values, name)
    return number // 1000 if number is not None and number > 10**14 else number


def span_of(values: Values, hours: int | None = None) -> tuple[int | None, int | None]:
    """Return startTime and endTime (ms). Refuses a span that is negative, or wider than ``hours``."""
    start, end = time_of(values, "startTime"), time_of(values, "endTime")
    if start is not None and end is not None:
        if end < start:
            raise errors.bad_value("startTime")
        if hours is not None and end - start > hours * 3_600_000:
            raise errors.BinanceError(-1127, f"More than {hours} hours between startTime and endTime.")
    return start, end


def limit_of(values: Values, default: int = 500, most: int = 1000) -> int:
    limit = whole_of(values, "limit")
    if limit is None:
        return default
    if limit < 1:
        raise errors.bad_value("limit")
    return min(limit, most)


def flag_of(values: Values, name: str, default: bool = False) -> bool:
    value = values.get(name)
    if value is None:
        return default
    if value.lower() not in ("true", "false"):
        raise errors.illegal(name, "^(true|false)$")
    return value.lower() == "true"


def choice_of(values: Values, name: str, choices: tuple[str, ...], default: str = "") -> str:
    value = values.get(name) or default
    if value not in choices:
        raise errors.bad_value(name)
    return value


def zone_of(values: Values) -> int:
    """Return ``timeZone`` (``+08:00``, ``-1:00``, ``4``; -12:00 to +14:00) as an offset in ms."""
    value = values.get("timeZone", "0")
    match = re.fullmatch(r"([+-]?)(\d{1,2})(?::(\d{2}))?", value, re.ASCII)
    if match is None:
        raise errors.bad_value("timeZone")
    minutes = int(match[2]) * 60 + int(match[3] or 0)
    minutes = -minutes if match[1] == "-" else minutes
    if not -720 <= minutes <= 840:
        raise errors.bad_value("timeZone")
    return minutes * 60_000
