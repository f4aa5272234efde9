"""A side of the book against the plain way: sort all of it each time."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from fortctl.paper.engine.book_side import BookSide
from fortctl.paper.engine.orders import PaperOrder

ZERO = Decimal(0)
prices = st.integers(95, 105).map(Decimal)


def order(number: int, side: str, price: Decimal, rank: int) -> PaperOrder:
    made = PaperOrder(number, "a", "BTCUSDT", "", side, "LIMIT", "GTC", price, Decimal(1), ZERO, 0)
    made.rank = rank
    return made


@given(
    buying=st.booleans(),
    commands=st.lists(st.tuples(st.sampled_from(("add", "add", "remove", "behind")), st.integers(1, 12), prices)),
    limit=prices,
)
def test_orders_stand_by_price_and_rank(buying: bool, commands: list[tuple[str, int, Decimal]], limit: Decimal) -> None:
    side, plain = BookSide(buying), {}
    for rank, (command, number, price) in enumerate(commands, 1):
        if command == "add":
            plain[number] = order(number, "BUY" if buying else "SELL", price, rank)
            side.add(plain[number])
        elif command == "remove":
            plain.pop(number, None)
            side.remove(number)
        elif number in plain:
            # An iceberg that shows its next part.
            plain[number].rank = rank
            side.add(plain[number])
    sorted_ = sorted(plain.values(), key=lambda one: (-one.price if buying else one.price, one.rank))
    assert list(side) == sorted_
    assert side.best() is (sorted_[0] if sorted_ else None)
    within = [one for one in sorted_ if (one.price >= limit if buying else one.price <= limit)]
    assert side.until(limit) == within and side.best(limit) is (within[0] if within else None)
    assert side.until(limit, including=False) == [one for one in within if one.price != limit]
