"""What a robot reports of itself, to its own process and to an operator's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class RobotOrder:
    """An order of the robot that may be at the exchange; numbers are decimal text.

    Attributes:
        order_id: the exchange's number; 0 if it is not known.
        status: Binance's word, ``UNKNOWN``, or ``ABSENT`` (the exchange does not know the order).
    """

    client_order_id: str
    order_id: int
    side: str
    price: str
    quantity: str
    filled: str
    status: str

    def to_json(self) -> dict[str, Any]:
        """Return the order as a row of ``orders[]``."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class HaltReport:
    """What a robot did when a panic halted it.

    Attributes:
        cancelled: the orders that it cancelled, by client order id.
        left: its orders that stay at the exchange.
    """

    cancelled: tuple[str, ...] = ()
    left: tuple[RobotOrder, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the answer of the control socket."""
        return {"cancelled": list(self.cancelled), "left": [order.to_json() for order in self.left]}
