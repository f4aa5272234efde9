"""What ``--state FILE`` keeps: accounts, keys, orders, fills, the market's place; durable before an answer leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fortctl.paper.accounts import Account, ApiKey
from fortctl.paper.engine import Engine
from fortctl.paper.matching import PaperOrder
from fortctl.store.sqlite import connect, transaction

MIGRATIONS = (
    """
    CREATE TABLE item (kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, name));
    """,
)


class StateFile:
    """One SQLite file; each save is one transaction."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path, MIGRATIONS)

    def save(self, engine: Engine, position: int) -> None:
        """Write what changed since the last save."""
        rows, gone = [], []
        for kind, name in engine.changed:
            body = _body(engine, kind, name)
            if body is None:
                gone.append((kind, name))
            else:
                rows.append((kind, name, json.dumps(body)))
        place = {
            "position": position,
            "next_order": engine.next_order,
            "next_trade": engine.next_trade,
            "next_uid": engine.next_uid,
        }
        rows.append(("place", "", json.dumps(place)))
        with transaction(self._connection):
            self._connection.executemany(
                "INSERT INTO item (kind, name, body) VALUES (?, ?, ?)"
                " ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body",
                rows,
            )
            self._connection.executemany("DELETE FROM item WHERE kind = ? AND name = ?", gone)

    def restore(self, engine: Engine) -> int | None:
        """Fill an engine with what was kept; return the market's place, or None when nothing was."""
        place: dict[str, Any] | None = None
        fills = []
        for kind, name, body in self._connection.execute("SELECT kind, name, body FROM item"):
            value = json.loads(body)
            if kind == "account":
                engine.accounts[name] = Account.from_json(value)
            elif kind == "key":
                engine.keys[name] = ApiKey.from_json(value)
            elif kind == "order":
                order = PaperOrder.from_json(value)
                engine.orders[order.id] = order
            elif kind == "fill":
                fills.append((name, value))
            else:
                place = value
        if place is None:
            return None
        engine.orders = dict(sorted(engine.orders.items()))
        for order in engine.orders.values():
            engine.by_client_id[order.account, order.symbol, order.client_order_id] = order.id
            if order.open:
                engine.books[order.symbol].resting[order.id] = order
        for name, value in sorted(fills, key=lambda item: int(item[1]["id"])):
            account, symbol, _id = name.split("/")
            engine.fills.setdefault((account, symbol), []).append(value)
        engine.next_order, engine.next_trade = place["next_order"], place["next_trade"]
        engine.next_uid = place["next_uid"]
        return int(place["position"])


def _body(engine: Engine, kind: str, name: str) -> dict[str, Any] | None:
    if kind == "account":
        return engine.accounts[name].as_json()
    if kind == "key":
        return engine.keys[name].as_json() if name in engine.keys else None
    if kind == "order":
        return engine.orders[int(name)].as_json()
    account, symbol, trade_id = name.split("/")
    rows = engine.fills[account, symbol]
    found: dict[str, Any] = next(row for row in reversed(rows) if row["id"] == int(trade_id))
    return found
