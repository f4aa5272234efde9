"""The trades of a recording in columns: 13 bytes a trade of Binance's archive, where an object takes 350. Pure.

A month of a busy symbol has 30 million trades. They are appended once, in order, and read one by one. Prices and
quantities are whole numbers of a power of ten, each block of trades with the smallest that fits.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import overload

BLOCK = 1 << 18
# Binance writes 8 decimals; a file may have more.
DECIMALS = 8
_UNSIGNED = 2**32
_SIGNED = 2**63


@dataclass(frozen=True, slots=True)
class Trade:
    """One recorded trade; ``time`` in ms of the recording's own clock."""

    id: int
    price: Decimal
    quantity: Decimal
    time: int
    buyer_is_maker: bool


class _Column:
    """Whole numbers: ``base + factor × value``, each value in four or eight bytes, or more where one is larger."""

    __slots__ = ("_base", "_factor", "_values", "zeros")

    def __init__(self, values: Sequence[int], *, offset: bool) -> None:
        self._base = values[0] if offset else 0
        # How many decimal zeros all values end with.
        self.zeros = 0
        common = 0 if offset else math.gcd(*values)
        while common and common % 10 == 0:
            common //= 10
            self.zeros += 1
        self._factor = 10**self.zeros
        self._values: Sequence[int]
        if offset and list(values) == list(range(values[0], values[0] + len(values))):
            # Numbers that rise one by one, as those of trades.
            self._values = range(len(values))
            return
        reduced = [(value - self._base) // self._factor for value in values]
        most = max(reduced)
        if min(reduced) < 0 or most >= _SIGNED:
            self._values = reduced
        else:
            self._values = array("I" if most < _UNSIGNED else "q", reduced)

    def __getitem__(self, index: int) -> int:
        value: int = self._base + self._factor * self._values[index]
        return value


class _Block:
    """Trades that are complete."""

    __slots__ = ("_decimals", "_ids", "_makers", "_prices", "_sizes", "_times")

    def __init__(self, rows: _OpenBlock) -> None:
        self._decimals = rows.decimals
        self._ids = _Column(rows.ids, offset=True)
        self._times = _Column(rows.times, offset=True)
        self._prices = _Column(rows.prices, offset=False)
        self._sizes = _Column(rows.sizes, offset=False)
        self._makers = bytes(rows.makers)

    def __len__(self) -> int:
        return len(self._makers)

    def trade(self, index: int) -> Trade:
        shift = -self._decimals
        price, size = Decimal(self._prices[index]).scaleb(shift), Decimal(self._sizes[index]).scaleb(shift)
        return Trade(self._ids[index], price, size, self._times[index], bool(self._makers[index]))

    def time(self, index: int) -> int:
        return self._times[index]

    def precisions(self) -> tuple[int, int]:
        """Return the decimals that prices and quantities need."""
        needed = (self._decimals - column.zeros for column in (self._prices, self._sizes))
        price, size = (max(0, decimals) for decimals in needed)
        return price, size


class _OpenBlock:
    """Trades of a block that is not complete; prices and sizes in units of ``10^-decimals``."""

    def __init__(self, decimals: int) -> None:
        self.decimals = decimals
        self.ids: list[int] = []
        self.times: list[int] = []
        self.prices: list[int] = []
        self.sizes: list[int] = []
        self.makers = bytearray()


class TradeTable(Sequence[Trade]):
    """Trades in the order in which they were appended."""

    def __init__(self, trades: Sequence[Trade] = ()) -> None:
        self._blocks: list[_Block] = []
        self._starts: list[int] = []
        self._rows = _OpenBlock(DECIMALS)
        self._count = 0
        for trade in trades:
            self.append(trade)
        self.seal()

    def append(self, trade: Trade) -> None:
        """Append a trade."""
        self.append_text(trade.id, f"{trade.price:f}", f"{trade.quantity:f}", trade.time, trade.buyer_is_maker)

    def append_text(self, number: int, price: str, size: str, time: int, buyer_is_maker: bool) -> None:
        """Append a trade as a file writes it. Raises ``ValueError`` where price or size is not a positive number."""
        rows = self._rows
        price_units, price_decimals = _units(price)
        size_units, size_decimals = _units(size)
        decimals = max(price_decimals, size_decimals)
        if decimals > rows.decimals:
            self.seal()
            rows = self._rows = _OpenBlock(decimals)
        rows.prices.append(price_units * 10 ** (rows.decimals - price_decimals))
        rows.sizes.append(size_units * 10 ** (rows.decimals - size_decimals))
        rows.ids.append(number)
        rows.times.append(time)
        rows.makers.append(buyer_is_maker)
        self._count += 1
        if len(rows.makers) == BLOCK:
            self.seal()

    def seal(self) -> None:
        """Complete the present block, so that its trades can be read."""
        if self._rows.makers:
            self._starts.append(self._count - len(self._rows.makers))
            self._blocks.append(_Block(self._rows))
            self._rows = _OpenBlock(self._rows.decimals)

    def extend(self, later: TradeTable) -> None:
        """Append all trades of another table, which it shares from then on."""
        self.seal()
        later.seal()
        for block in later._blocks:
            self._starts.append(self._count)
            self._blocks.append(block)
            self._count += len(block)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Trade: ...

    @overload
    def __getitem__(self, index: slice) -> list[Trade]: ...

    def __getitem__(self, index: int | slice) -> Trade | list[Trade]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(self._count))]
        block, number = self._place(index)
        return block.trade(number)

    def __iter__(self) -> Iterator[Trade]:
        for block in self._blocks:
            for number in range(len(block)):
                yield block.trade(number)

    def time(self, index: int) -> int:
        """Return the time of a trade (ms of the recording's clock)."""
        block, number = self._place(index)
        return block.time(number)

    def _place(self, index: int) -> tuple[_Block, int]:
        index = index + self._count if index < 0 else index
        if not 0 <= index < self._count:
            raise IndexError(index)
        place = bisect_right(self._starts, index) - 1
        return self._blocks[place], index - self._starts[place]

    def precisions(self) -> tuple[int, int]:
        """Return the most decimals that a price and a quantity need."""
        needed = [block.precisions() for block in self._blocks]
        return max(price for price, _size in needed), max(size for _price, size in needed)


def _units(text: str) -> tuple[int, int]:
    """Return a positive number as a whole number and its decimals. Raises ``ValueError``."""
    whole, _point, part = text.partition(".")
    if whole.isdecimal() and (part.isdecimal() or not part) and text.isascii():
        units, decimals = int(whole + part), len(part)
    else:
        units, decimals = _exact(text)
    if units <= 0:
        raise ValueError("not positive")
    return units, decimals


def _exact(text: str) -> tuple[int, int]:
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
    except InvalidOperation:
        raise ValueError("not a number") from None
    if not isinstance(exponent, int) or abs(exponent) > 30:
        raise ValueError("not a number")
    number = int("".join(map(str, digits))) * (-1 if sign else 1)
    return (number * 10**exponent, 0) if exponent > 0 else (number, -exponent)
