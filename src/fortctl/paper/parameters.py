"""What a call is, and how its parameters are read and refused. No I/O. Source: rest-api.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fortctl.paper import refusals
from fortctl.paper.accounts import Account, ApiKey
from fortctl.paper.engine import Engine
from fortctl.paper.symbols import Symbol

CLIENT_ID = "^[a-zA-Z0-9-_]{1,36}$"
NUMBER = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
WHOLE = "^[0-9]{1,20}$"
SIGNED = ("timestamp", "signature", "recvWindow")

Values = Mapping[str, str]


@dataclass(frozen=True)
class Context:
    """What a handler may look at."""

    engine: Engine
    now: int
    key: ApiKey | None
    limits: list[dict[str, Any]]

    @property
    def account(self) -> Account:
        assert self.key is not None
        return self.engine.accounts[self.key.account]


@dataclass(frozen=True)
class Call:
    """One endpoint or method.

    Attributes:
        security: ``NONE``, ``USER_DATA`` or ``TRADE``.
        weight: request weight (rest-api.md).
        needed, optional: parameter names besides the signed ones.
    """

    handler: Callable[[Context, Values], Any]
    security: str = "NONE"
    weight: int = 1
    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    orders: int = 0
    names: tuple[str, ...] = field(default=())


def check_parameters(call: Call, values: Values) -> None:
    """Refuse missing and unknown parameters as Binance does."""
    for name in call.needed:
        if not values.get(name):
            raise refusals.missing(name)
    known = {*call.needed, *call.optional, *(SIGNED if call.security != "NONE" else ()), "apiKey"}
    unknown = [name for name in values if name not in known]
    if unknown:
        read = len(values) - len(unknown)
        text_ = f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(values)}'."
        raise refusals.Refusal(-1104, text_)


def symbol_named(context: Context, values: Values) -> Symbol:
    name = values.get("symbol", "")
    if not re.fullmatch("[A-Z0-9-_.]{1,20}", name):
        raise refusals.illegal("symbol", "^[A-Z0-9-_.]{1,20}$")
    found = context.engine.symbols.get(name)
    if found is None:
        raise refusals.BAD_SYMBOL
    return found


def decimal_of(values: Values, name: str) -> Decimal:
    value = values.get(name, "")
    if not value:
        raise refusals.missing(name)
    if not re.fullmatch(NUMBER.strip("^$"), value):
        raise refusals.illegal(name, NUMBER)
    number = Decimal(value)
    if -number.as_tuple().exponent > 8 and number != round(number, 8):  # type: ignore[operator]
        raise refusals.Refusal(-1111, refusals.BAD_PRECISION.format(name))
    return number


def whole_of(values: Values, name: str) -> int | None:
    value = values.get(name)
    if value in (None, ""):
        return None
    if not re.fullmatch(WHOLE.strip("^$"), value):
        raise refusals.illegal(name, WHOLE)
    return int(value)


def limit_of(values: Values, default: int = 500, most: int = 1000) -> int:
    return min(whole_of(values, "limit") or default, most)
