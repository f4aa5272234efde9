"""What robot and exchange both have while the robot is idle, to be compared over two runs of one market."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fortctl.robot.core.book import Book

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Stand:
    """What both sides have. Names are not in it: a kill may spend one.

    Attributes:
        at: where the market is.
    """

    at: Decimal | int
    open_orders: tuple[Row, ...]
    fills: tuple[Row, ...]
    moved: tuple[tuple[str, Decimal], ...]
    profit: Decimal
    dust: Decimal
    closed: int


def stand_of(at: Decimal | int, orders: Iterable[Row], trades: Iterable[Mapping[str, Any]], book: Book) -> Stand:
    """Return what stands, given the open orders and the exchange's rows of the robot's trades."""
    fills = sorted(
        (row["isBuyer"], row["price"], row["qty"], row["commission"], row["commissionAsset"]) for row in trades
    )
    moved = tuple(sorted((asset, amount) for asset, amount in book.moved.items() if amount))
    return Stand(at, tuple(sorted(orders)), tuple(fills), moved, book.profit, book.dust, book.closed)


def unequal(alone: list[Stand], killed: list[Stand]) -> list[str]:
    """Return how two runs differ, trade by trade of the market; empty when they do not."""
    return [
        f"after trade {number}: {name}: {getattr(theirs, name)} with kills, {getattr(ours, name)} without"
        for number, (ours, theirs) in enumerate(zip(alone, killed, strict=True))
        for name in vars(ours)
        if getattr(ours, name) != getattr(theirs, name)
    ]
