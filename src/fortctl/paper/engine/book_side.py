"""The resting orders of one side of a book, best price first, then by rank. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from decimal import Decimal

from fortctl.paper.engine.orders import PaperOrder

Place = tuple[Decimal, int, int]


class BookSide:
    """Orders in the order in which they match; adding or removing one costs O(log n) comparisons.

    Args:
        buying: the side of buyers, whose best price is the highest.

    Attributes:
        best_price: of all orders; None without one.
    """

    def __init__(self, buying: bool) -> None:
        self._buying = buying
        self._places: list[Place] = []
        # order id → its place when it was added; its price and rank may have changed since
        self._of: dict[int, Place] = {}
        self._orders: dict[int, PaperOrder] = {}
        self.best_price: Decimal | None = None

    def add(self, order: PaperOrder) -> None:
        """Add an order, or move it to the place of its present price and rank."""
        self.remove(order.id)
        place = (-order.price if self._buying else order.price, order.rank, order.id)
        insort(self._places, place)
        self._keep_best_price()
        self._of[order.id], self._orders[order.id] = place, order

    def remove(self, order_id: int) -> None:
        place = self._of.pop(order_id, None)
        if place is not None:
            del self._orders[order_id]
            del self._places[bisect_left(self._places, place)]
            self._keep_best_price()

    def _keep_best_price(self) -> None:
        first = self._places[0][0] if self._places else None
        self.best_price = -first if first is not None and self._buying else first

    def __iter__(self) -> Iterator[PaperOrder]:
        """Yield every order, best first; no order may be added or removed meanwhile."""
        return (self._orders[place[2]] for place in self._places)

    def best(self, limit: Decimal | None = None) -> PaperOrder | None:
        """Return the best order, or None if there is none at a price or better."""
        if not self._places:
            return None
        order = self._orders[self._places[0][2]]
        return order if limit is None or self._within(order.price, limit) else None

    def until(self, limit: Decimal, *, including: bool = True) -> list[PaperOrder]:
        """Return the orders at a price or better, best first; without ``including`` only those better than it."""
        edge = -limit if self._buying else limit
        end = bisect_left(self._places, (edge, _LAST if including else _FIRST, 0))
        return [self._orders[place[2]] for place in self._places[:end]]

    def _within(self, price: Decimal, limit: Decimal) -> bool:
        return price >= limit if self._buying else price <= limit


# Ranks begin at 1.
_FIRST, _LAST = 0, 2**62
