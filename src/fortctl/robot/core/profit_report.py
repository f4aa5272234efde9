"""What the robot earned, from the journal's events alone: by cycle, by day, by symbol. Pure.

Money is in the quote asset of its row, summed exactly and shown to eight decimals (rows that were rounded may add up to
another last digit than the total's). Realised is what finished cycles brought, net of commissions of known worth;
unrealised is what live cycles and the dust pool would bring at the last known price, before the commission of selling.
A commission in an asset whose worth was not known is in no profit: it is named apart.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fortctl.robot.core.book import Book
from fortctl.robot.core.cycle import ZERO, Cycle, CycleState
from fortctl.robot.core.events import Event, FillRecorded
from fortctl.robot.core.filters import format_money
from fortctl.timestamps import rfc3339

BY = ("cycle", "day", "symbol")
_EMPTY = (CycleState.CANCELLED, CycleState.PLANNED)


@dataclass
class ReportRow:
    """One day, or one symbol.

    Attributes:
        bought, sold: quote paid and received.
        fees: commissions of known worth, in quote.
        realised, unrealised: profit in quote.
    """

    symbol: str
    quote: str
    day: str = ""
    cycles_closed: int = 0
    fills: int = 0
    bought: Decimal = ZERO
    sold: Decimal = ZERO
    fees: Decimal = ZERO
    realised: Decimal = ZERO
    unrealised: Decimal = ZERO
    inventory: Decimal = ZERO
    inventory_cost: Decimal = ZERO
    commissions: dict[str, Decimal] = field(default_factory=dict)

    def charge(self, asset: str, amount: Decimal) -> None:
        if amount:
            self.commissions[asset] = self.commissions.get(asset, ZERO) + amount


class Report:
    """A fold over the journal: feed it every event, then ask for rows.

    Args:
        price: the last known price of the present symbol; by default that of the last fill.
        each_cycle: keep a row for each cycle (it grows with the history).
    """

    def __init__(self, price: Decimal | None = None, *, each_cycle: bool = False) -> None:
        self.book = Book(self._over)
        self._price = price
        self._priced_at = 0
        self._given = price is not None
        self._each = each_cycle
        self._cycles: list[dict[str, Any]] = []
        self._days: dict[tuple[str, str], ReportRow] = {}
        self._symbols: dict[str, ReportRow] = {}

    def feed(self, events: Iterable[Event]) -> Report:
        for event in events:
            if isinstance(event, FillRecorded):
                self._booked(event)
            self.book.apply(event)
        return self

    def rows(self, by: str) -> list[dict[str, Any]]:
        """Return the rows by ``cycle``, ``day`` or ``symbol``, oldest first, money as decimal strings."""
        if by == "cycle":
            live = [_cycle_row(cycle, self.book, self._worth(cycle)) for cycle in self.book.live_cycles()]
            return sorted([*self._cycles, *live], key=lambda row: int(row["id"]))
        if by == "day":
            return [_line_row(line, "day", "symbol") for _key, line in sorted(self._days.items())]
        self._value_inventory()
        return [_line_row(line, "symbol") for _symbol, line in sorted(self._symbols.items())]

    def totals(self) -> dict[str, Any]:
        """Return realised and unrealised profit by quote asset, and what could not be valued."""
        self._value_inventory()
        quotes: dict[str, list[Decimal]] = {}
        for line in self._symbols.values():
            sums = quotes.setdefault(line.quote, [ZERO, ZERO, ZERO])
            sums[0] += line.realised
            sums[1] += line.unrealised
            sums[2] += line.fees
        return {
            "profit": {
                quote: {
                    "realised": format_money(sums[0]),
                    "unrealised": format_money(sums[1]),
                    "fees": format_money(sums[2]),
                }
                for quote, sums in sorted(quotes.items())
            },
            "cycles_closed": self.book.closed,
            "cycles_open": len([cycle for cycle in self.book.live_cycles() if cycle.held_quantity > 0]),
            "commissions_without_price": _amounts(self.book.other_commissions),
            "price": format_money(self._price) if self._price is not None else None,
            "last_event_at": rfc3339(self.book.last_at) if self.book.last_at else None,
        }

    # -- the fold --------------------------------------------------------------------------------------------------

    def _line(self) -> ReportRow:
        book = self.book
        return self._symbols.setdefault(book.symbol, ReportRow(book.symbol, book.quote))

    def _day(self, at: int) -> ReportRow:
        book, day = self.book, str(rfc3339(at))[:10]
        return self._days.setdefault((day, book.symbol), ReportRow(book.symbol, book.quote, day))

    def _booked(self, event: FillRecorded) -> None:
        book = self.book
        if book.has_booked(event.client_order_id, event.trade_id):
            return
        buying = book.orders[event.client_order_id].leg == "buy"
        for line in (self._line(), self._day(event.at)):
            line.fills += 1
            line.bought += event.quote if buying else ZERO
            line.sold += ZERO if buying else event.quote
            line.fees += book.worth(event.commission_asset, event.commission)
            line.charge(event.commission_asset, event.commission)
        if not self._given and event.at >= self._priced_at:
            self._price, self._priced_at = event.price, event.at

    def _over(self, cycle: Cycle) -> None:
        if cycle.state in _EMPTY:
            return
        for line in (self._line(), self._day(cycle.closed_at)):
            line.cycles_closed += cycle.state is CycleState.CLOSED
            line.realised += cycle.profit
        if self._each:
            self._cycles.append(_cycle_row(cycle, self.book, None))

    def _worth(self, cycle: Cycle) -> Decimal | None:
        """Return what a live cycle would have earned, were its inventory sold at the last known price."""
        if self._price is None:
            return None
        return cycle.received + cycle.held_quantity * self._price - cycle.spent - cycle.dust_cost - cycle.fees

    def _value_inventory(self) -> None:
        book = self.book
        if not book.symbol or self._price is None:
            return
        line, live = self._line(), book.live_cycles()
        line.inventory = book.inventory()
        line.inventory_cost = book.dust_cost + sum((one.held_quantity * one.unit_cost for one in live), ZERO)
        worths = (self._worth(cycle) or ZERO for cycle in live)
        line.unrealised = sum(worths, book.dust * self._price - book.dust_cost)


def report(events: Iterable[Event], by: str, price: Decimal | None = None) -> dict[str, Any]:
    """Return ``{by, rows[], totals{}}`` of a journal."""
    totals = Report(price, each_cycle=by == "cycle").feed(events)
    return {"by": by, "rows": totals.rows(by), "totals": totals.totals()}


def as_csv(rows: Iterable[Mapping[str, Any]], by: str) -> str:
    """Return rows as CSV (RFC 4180, lines ended by LF); the header is there without a row too.

    Commissions are written as ``ASSET amount; …``.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = COLUMNS[by]
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in columns])
    return text.getvalue()


_SUMS = (
    *("cycles_closed", "fills", "bought", "sold", "fees", "commissions", "realised_profit"),
    *("unrealised_profit", "inventory", "inventory_cost"),
)
COLUMNS = {
    "cycle": (
        *("id", "symbol", "level", "state", "opened_at", "closed_at", "bought", "spent", "sold", "received"),
        *("fees", "commissions", "realised_profit", "unrealised_profit", "profit_asset"),
    ),
    "day": ("day", "symbol", *_SUMS[:-3], "profit_asset"),
    "symbol": ("symbol", *_SUMS, "profit_asset"),
}


def _cycle_row(cycle: Cycle, book: Book, worth: Decimal | None) -> dict[str, Any]:
    over = not cycle.live
    return {
        "id": cycle.id,
        "symbol": cycle.symbol,
        "level": cycle.level,
        "state": cycle.state.value,
        "opened_at": rfc3339(cycle.opened_at) if cycle.opened_at else None,
        "closed_at": rfc3339(cycle.closed_at) if over and cycle.closed_at else None,
        "bought": format_money(cycle.bought),
        "spent": format_money(cycle.spent),
        "sold": format_money(cycle.sold),
        "received": format_money(cycle.received),
        "fees": format_money(cycle.fees),
        "commissions": _amounts(cycle.commissions),
        "realised_profit": format_money(cycle.profit) if over else None,
        "unrealised_profit": format_money(worth) if worth is not None else None,
        "profit_asset": book.quote,
    }


def _line_row(line: ReportRow, *names: str) -> dict[str, Any]:
    row = {name: getattr(line, name) for name in names} | {
        "cycles_closed": line.cycles_closed,
        "fills": line.fills,
        "bought": format_money(line.bought),
        "sold": format_money(line.sold),
        "fees": format_money(line.fees),
        "commissions": _amounts(line.commissions),
        "realised_profit": format_money(line.realised),
        "profit_asset": line.quote,
    }
    if "day" not in names:
        row["unrealised_profit"] = format_money(line.unrealised)
        row["inventory"], row["inventory_cost"] = format_money(line.inventory), format_money(line.inventory_cost)
    return row


def _amounts(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {asset: format_money(amount) for asset, amount in sorted(amounts.items())}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return "; ".join(f"{asset} {amount}" for asset, amount in value.items())
    return str(value)
