"""The state file (``--state FILE``): accounts, keys, orders, lists, fills, symbols and the replay's position.

One SQLite table of JSON rows by kind and name. :func:`collect` gathers what changed in the event loop's thread, and
:meth:`StateFile.write` writes it in another thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from fortctl.paper.engine.accounts import Account, ApiKey
from fortctl.paper.engine.orders import OrderList, PaperOrder
from fortctl.paper.engine.state import ExchangeState
from fortctl.store.sqlite import connect, transaction

MIGRATIONS = (
    """
    CREATE TABLE item (kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, name))
        WITHOUT ROWID;
    """,
)
# Raised by a write when the disk is full, or the file is locked or missing.
STATE_ERRORS = (sqlite3.Error, OSError)
ROWS = 100
COUNTERS = ("next_order", "next_trade", "next_uid", "next_list", "next_execution", "next_prevented")


@dataclass(frozen=True)
class Batch:
    """One transaction: rows to write (kind, name, body) and rows to delete (kind, name)."""

    rows: list[tuple[str, str, str]]
    gone: list[tuple[str, str]]


def collect(state: ExchangeState, changed: set[tuple[str, str]], position: int) -> Batch:
    """Return the rows to write.

    Args:
        changed: what has changed, as (kind, name).
        position: the replay's position.
    """
    rows, gone = [], []
    for kind, name in changed:
        body = _body(state, kind, name)
        if body is None:
            gone.append((kind, name))
        else:
            rows.append((kind, name, _text(body)))
    books = {name: book.as_json() for name, book in state.books.items()}
    place = {"position": position, "books": books, **{name: getattr(state, name) for name in COUNTERS}}
    return Batch([*rows, ("place", "", _text(place))], gone)


def _text(body: Any) -> str:
    return orjson.dumps(body, default=str).decode()


class StateFile:
    """One state file."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path, MIGRATIONS, any_thread=True, exclusive=True)

    def close(self) -> None:
        self._connection.close()

    def write(self, batch: Batch) -> None:
        """Write what :func:`collect` gathered, durably, in one transaction. Raises :data:`STATE_ERRORS`."""
        with transaction(self._connection):
            # Many rows a statement: each statement takes the interpreter's lock from the serving thread.
            for first in range(0, len(batch.rows), ROWS):
                rows = batch.rows[first : first + ROWS]
                self._connection.execute(
                    f"INSERT INTO item (kind, name, body) VALUES {', '.join(['(?, ?, ?)'] * len(rows))}"
                    " ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body",
                    [part for row in rows for part in row],
                )
            if batch.gone:
                self._connection.executemany("DELETE FROM item WHERE kind = ? AND name = ?", batch.gone)

    def restore(self, state: ExchangeState) -> int | None:
        """Fill a state with the stored rows; return the replay's position, or None if the file is empty."""
        return restore(state, self._connection.execute("SELECT kind, name, body FROM item"))


def restore(state: ExchangeState, kept: Iterable[tuple[str, str, str]]) -> int | None:
    """Fill a state with rows of :class:`Batch`; return the replay's position, or None without any."""
    items: dict[str, dict[str, Any]] = {}
    for kind, name, body in kept:
        items.setdefault(kind, {})[name] = orjson.loads(body)
    if "place" not in items:
        return None
    place = items["place"][""]
    for name, value in items.get("account", {}).items():
        state.accounts[name] = Account.from_json(value)
    for name, value in items.get("key", {}).items():
        state.keys[name] = ApiKey.from_json(value)
    for name, value in items.get("symbol", {}).items():
        if name in state.symbols:
            state.symbols[name].restore(value)
    _restore_orders(state, items)
    for (account, symbol), rows in _rows(items.get("fill", {}), "id").items():
        state.fills[account, symbol] = rows
    for (account, symbol), rows in _rows(items.get("prevented", {}), "preventedMatchId").items():
        state.prevented[account, symbol] = rows
    for value in sorted(items.get("amendment", {}).values(), key=lambda row: int(row["executionId"])):
        state.amendments.setdefault(value["orderId"], []).append(value)
    for name in COUNTERS:
        setattr(state, name, place.get(name, getattr(state, name)))
    for symbol, rank in place.get("ranks", {}).items():
        # An older state file.
        if symbol in state.books:
            state.books[symbol].next_rank = rank
    state.saved_books = place.get("books", {})
    return int(place["position"])


def _restore_orders(state: ExchangeState, items: dict[str, dict[str, Any]]) -> None:
    orders = sorted((PaperOrder.from_json(value) for value in items.get("order", {}).values()), key=lambda o: o.id)
    for order in orders:
        state.add_order(order)
        if order.open and order.symbol in state.books:
            state.books[order.symbol].add(order)
    for value in sorted(items.get("list", {}).values(), key=lambda value: int(value["id"])):
        listed = OrderList.from_json(value)
        state.lists[listed.id] = listed
        state.list_by_client_id[listed.account, listed.client_id] = listed.id
        if listed.open:
            state.open_lists[listed.id] = None


def _rows(items: dict[str, Any], field: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    # The maker's row comes first in a trade of an account with itself.
    for name, value in sorted(items.items(), key=lambda item: (int(item[1][field]), not item[1].get("isMaker"))):
        account, symbol = name.split("/")[:2]
        rows.setdefault((account, symbol), []).append(value)
    return rows


def _body(state: ExchangeState, kind: str, name: str) -> Any:
    if kind == "account":
        return state.accounts[name].as_json()
    if kind == "key":
        return state.keys[name].as_json() if name in state.keys else None
    if kind == "order":
        return state.orders[int(name)].as_json()
    if kind == "list":
        return state.lists[int(name)].as_json()
    if kind == "symbol":
        return state.symbols[name].as_json()
    parts = name.split("/")
    if kind == "amendment":
        rows, field, number = state.amendments[int(parts[0])], "executionId", int(parts[1])
        return next(row for row in reversed(rows) if row[field] == number)
    source = state.fills if kind == "fill" else state.prevented
    field = "id" if kind == "fill" else "preventedMatchId"
    order_id = int(parts[3]) if kind == "fill" else None
    return next(
        row
        for row in reversed(source[parts[0], parts[1]])
        if row[field] == int(parts[2]) and order_id in (None, row.get("orderId"))
    )
