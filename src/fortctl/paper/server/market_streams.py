"""Market streams: which names exist, and what each publishes (web-socket-streams.md). No I/O but the hub's queues."""

from __future__ import annotations

import re
from typing import Any

from fortctl.paper.api.tickers import Statistics, best_row, day_row
from fortctl.paper.engine.state import ExchangeState
from fortctl.paper.engine.symbols import text
from fortctl.paper.engine.trades.history import DAY_MS, INTERVALS, MINUTE_MS, Candle
from fortctl.paper.engine.trades.table import Trade
from fortctl.paper.server.subscriptions import SubscriptionHub

Row = dict[str, Any]
WINDOWS = {"1h": 3_600_000, "4h": 14_400_000, "1d": DAY_MS}
FAST_MS, SLOW_MS, KLINE_MS = 100, 1000, 2000
ZONE_MS = 8 * 3_600_000
_NAME = re.compile(r"(?P<symbol>[\w]{1,20})@(?P<kind>[\w]+)(?:@(?P<more>[\w+:]+))?")


def parse(name: str) -> tuple[str, str, str] | None:
    """Return (symbol in capitals, kind, rest) of a symbol's stream, or None for another form."""
    match = _NAME.fullmatch(name)
    return (match["symbol"].upper(), match["kind"], match["more"] or "") if match else None


def _exists(kind: str, more: str) -> bool:
    """Return whether there is such a stream of a symbol."""
    if kind.startswith("kline_"):
        return kind.removeprefix("kline_") in INTERVALS and more in ("", "+08:00")
    if kind in ("depth", "depth5", "depth10", "depth20"):
        return more in ("", "100ms", "1000ms")
    window = kind.startswith("ticker_") and kind[7:] in WINDOWS
    return not more and (window or kind in ("trade", "aggTrade", "bookTicker", "miniTicker", "ticker", "avgPrice"))


class Publisher:
    """Publishes the market streams: some with each trade, the others at their pace.

    Args:
        state: what is published.
        hub: the subscriptions.
    """

    def __init__(self, state: ExchangeState, hub: SubscriptionHub) -> None:
        self._state = state
        self._hub = hub
        self._best: dict[str, tuple[Any, ...]] = {}
        self._aggregate: dict[str, int] = {}
        # stream → what was published last
        self._books: dict[str, tuple[int, dict[str, dict[str, str]]]] = {}
        # stream → prices of snapshots that clients received since then
        self._served: dict[str, dict[str, set[str]]] = {}
        self._partial: dict[str, int] = {}
        self._candles: dict[str, tuple[int, int, int, bool]] = {}
        self._paced: dict[str, tuple[int, int]] = {}
        self._known: dict[str, tuple[str, str, str] | None] = {}

    # -- with each trade ---------------------------------------------------------------------------------------------

    def publish_trade(self, symbol: str, trade: Trade, now: int) -> None:
        """Publish what a trade changes at once."""
        subscribed = self._hub.markets
        if not subscribed:
            return
        low, number = symbol.lower(), self._state.history[symbol].row(-1)[0]
        if f"{low}@trade" in subscribed:
            event = {
                "e": "trade",
                "E": now,
                "s": symbol,
                "t": number,
                "p": text(trade.price),
                "q": text(trade.quantity),
                "T": now,
                "m": trade.buyer_is_maker,
                "M": True,
            }
            self._hub.publish(f"{low}@trade", event)
        if f"{low}@aggTrade" in subscribed:
            self._publish_aggregates(symbol, now, closed=True)
        if f"{low}@bookTicker" in subscribed:
            self._publish_best(symbol)

    def _publish_aggregates(self, symbol: str, now: int, *, closed: bool) -> None:
        """Publish the aggregates that are complete; without ``closed`` also the last candle."""
        history = self._state.history[symbol]
        last = history.aggregates(1)
        if not last:
            return
        first = self._aggregate.get(symbol, last[0].id - 1) + 1
        until = last[0].id - 1 if closed else last[0].id
        if until < first:
            self._aggregate.setdefault(symbol, first - 1)
            return
        for aggregate in history.aggregates(until - first + 1, first=first):
            event = {"e": "aggTrade", "E": now, "s": symbol, "a": aggregate.id, "p": text(aggregate.price)}
            event |= {"q": text(aggregate.quantity), "f": aggregate.first_id, "l": aggregate.last_id}
            event |= {"T": aggregate.time, "m": aggregate.buyer_is_maker, "M": True}
            self._hub.publish(f"{symbol.lower()}@aggTrade", event)
        self._aggregate[symbol] = until

    def _publish_best(self, symbol: str) -> None:
        best = best_row(self._state, symbol)
        prices = tuple(best.values())
        if self._best.get(symbol) == prices:
            return
        self._best[symbol] = prices
        event = {
            "u": self._state.books[symbol].update_id,
            "s": symbol,
            "b": best["bidPrice"],
            "B": best["bidQty"],
            "a": best["askPrice"],
            "A": best["askQty"],
        }
        self._hub.publish(f"{symbol.lower()}@bookTicker", event)

    # -- at their pace -----------------------------------------------------------------------------------------------

    def tick(self, now: int) -> None:
        """Publish what is due; to be called every 100 ms."""
        for name in list(self._hub.markets):
            if name.startswith("!"):
                self._publish_all(name, now)
                continue
            if name not in self._known:
                parts = parse(name)
                exists = parts is not None and parts[0] in self._state.symbols and _exists(*parts[1:])
                self._known[name] = parts if exists else None
            known = self._known[name]
            if known is not None:
                self._publish(name, *known, now)

    def forget(self, name: str) -> None:
        """Forget what was published on a stream: its last subscription has ended."""
        self._known.pop(name, None)
        if name.startswith("!"):
            for symbol in self._state.symbols:
                self._paced.pop(f"{name}/{symbol}", None)
        self._books.pop(name, None)
        self._served.pop(name, None)
        self._partial.pop(name, None)
        self._candles.pop(name, None)
        self._paced.pop(name, None)

    def _publish(self, name: str, symbol: str, kind: str, more: str, now: int) -> None:
        if kind == "aggTrade":
            self._publish_aggregates(symbol, now, closed=False)
        elif kind == "bookTicker":
            self._publish_best(symbol)
        elif kind.startswith("kline_"):
            self._publish_kline(name, symbol, kind.removeprefix("kline_"), more, now)
        elif kind == "depth" and more in ("", "100ms", "1000ms"):
            self._publish_diff(name, symbol, FAST_MS if more == "100ms" else SLOW_MS, now)
        elif kind in ("depth5", "depth10", "depth20") and more in ("", "100ms", "1000ms"):
            self._publish_partial(name, symbol, int(kind[5:]), FAST_MS if more == "100ms" else SLOW_MS, now)
        elif not more and self._due(name, symbol, now):
            event = self._ticker(kind, symbol, now)
            if event is not None:
                self._hub.publish(name, event)

    def _due(self, name: str, symbol: str, now: int) -> bool:
        """Return whether a second has passed since a stream's last event, and something has traded since."""
        published, known = self._paced.get(name, (0, -1))
        here = self._state.history[symbol].times
        latest = here[-1] if here else 0
        if now - published < SLOW_MS or known == latest:
            return False
        self._paced[name] = (now, latest)
        return True

    def _ticker(self, kind: str, symbol: str, now: int) -> Row | None:
        if kind == "miniTicker":
            return self._mini(symbol, now)
        if kind == "ticker":
            return self._day(symbol, now)
        if kind.startswith("ticker_") and kind[7:] in WINDOWS:
            return self._window(kind[7:], symbol, now)
        if kind == "avgPrice":
            average = self._state.history[symbol].average(now)
            times = self._state.history[symbol].times
            price = average if average is not None else self._state.last_price(symbol)
            return {"e": "avgPrice", "E": now, "s": symbol, "i": "5m", "w": text(price), "T": times[-1]}
        return None

    def _mini(self, symbol: str, now: int) -> Row:
        candle = Statistics(self._state, symbol, now - DAY_MS, now).candle
        prices = {"c": text(candle.close), "o": text(candle.open), "h": text(candle.high), "l": text(candle.low)}
        volumes = {"v": text(candle.volume), "q": text(candle.quote)}
        return {"e": "24hrMiniTicker", "E": now, "s": symbol, **prices, **volumes}

    def _day(self, symbol: str, now: int) -> Row:
        row = day_row(self._state, symbol, now)
        letters = {
            "p": "priceChange",
            "P": "priceChangePercent",
            "w": "weightedAvgPrice",
            "x": "prevClosePrice",
            "c": "lastPrice",
            "Q": "lastQty",
            "b": "bidPrice",
            "B": "bidQty",
            "a": "askPrice",
            "A": "askQty",
            "o": "openPrice",
            "h": "highPrice",
            "l": "lowPrice",
            "v": "volume",
            "q": "quoteVolume",
            "O": "openTime",
            "C": "closeTime",
            "F": "firstId",
            "L": "lastId",
            "n": "count",
        }
        return {"e": "24hrTicker", "E": now, "s": symbol, **{short: row[long] for short, long in letters.items()}}

    def _window(self, size: str, symbol: str, now: int) -> Row:
        start = (now - WINDOWS[size]) // MINUTE_MS * MINUTE_MS
        row = Statistics(self._state, symbol, start, now).full(symbol)
        letters = {
            "p": "priceChange",
            "P": "priceChangePercent",
            "o": "openPrice",
            "h": "highPrice",
            "l": "lowPrice",
            "c": "lastPrice",
            "w": "weightedAvgPrice",
            "v": "volume",
            "q": "quoteVolume",
            "O": "openTime",
            "C": "closeTime",
            "F": "firstId",
            "L": "lastId",
            "n": "count",
        }
        return {"e": f"{size}Ticker", "E": now, "s": symbol, **{short: row[long] for short, long in letters.items()}}

    def _publish_all(self, name: str, now: int) -> None:
        """Publish an all-market stream: the symbols that have changed."""
        rows = []
        for symbol in self._state.symbols:
            key = f"{name}/{symbol}"
            if name == "!miniTicker@arr" and self._due(key, symbol, now):
                rows.append(self._mini(symbol, now))
            elif name[:8] == "!ticker_" and name[8:].removesuffix("@arr") in WINDOWS and self._due(key, symbol, now):
                rows.append(self._window(name[8:].removesuffix("@arr"), symbol, now))
        if rows:
            self._hub.publish(name, rows)

    # -- candles -----------------------------------------------------------------------------------------------------

    def _publish_kline(self, name: str, symbol: str, interval: str, more: str, now: int) -> None:
        if interval not in INTERVALS or more not in ("", "+08:00"):
            return
        offset = ZONE_MS if more else 0
        rows = self._state.history[symbol].candles(interval, 2, offset=offset)
        if not rows:
            return
        current = rows[-1]
        opens, count, published, closed = self._candles.get(name, (current.open_time, -1, 0, False))
        if opens != current.open_time and not closed and len(rows) == 2:
            self._hub.publish(name, _kline(symbol, interval, rows[0], now, closed=True))
            count, published, closed = -1, 0, False
        elif opens != current.open_time:
            count, published, closed = -1, 0, False
        over = now > current.close_time
        pace = SLOW_MS if interval == "1s" else KLINE_MS
        if (over and not closed) or (current.count != count and now - published >= pace):
            self._hub.publish(name, _kline(symbol, interval, current, now, closed=over))
            count, published, closed = current.count, now, over
        self._candles[name] = (current.open_time, count, published, closed)

    # -- the book ----------------------------------------------------------------------------------------------------

    def _sides(self, symbol: str) -> dict[str, dict[str, str]]:
        book = self._state.books[symbol]
        return {side: {text(price): text(size) for price, size in book.levels(side)} for side in ("bids", "asks")}

    def note_snapshot(self, symbol: str, snapshot: Row) -> None:
        """Note the prices of a snapshot that a client received between two differences.

        The next difference has to state each of them, even a level that appeared and vanished since the last candle.
        """
        for name in self._books:
            if name.startswith(f"{symbol.lower()}@depth"):
                prices = self._served.setdefault(name, {"bids": set(), "asks": set()})
                for side in ("bids", "asks"):
                    prices[side].update(price for price, _size in snapshot[side])

    def _publish_diff(self, name: str, symbol: str, pace: int, now: int) -> None:
        """Publish what changed since the last difference, with the update ids that it spans."""
        update_id = self._state.books[symbol].update_id
        if name not in self._books:
            self._books[name] = (update_id, self._sides(symbol))
            self._paced[name] = (now, 0)
            return
        before_id, before = self._books[name]
        if update_id == before_id or now - self._paced[name][0] < pace:
            return
        sides = self._sides(symbol)
        served = self._served.pop(name, {})
        changes = {}
        for side, rows in sides.items():
            known = served.get(side, set())
            changed = [
                [price, size] for price, size in rows.items() if before[side].get(price) != size or price in known
            ]
            gone = dict.fromkeys((*before[side], *sorted(known)))
            changes[side] = changed + [[price, "0.00000000"] for price in gone if price not in rows]
        event = {"e": "depthUpdate", "E": now, "s": symbol, "U": before_id + 1, "u": update_id}
        self._hub.publish(name, {**event, "b": changes["bids"], "a": changes["asks"]})
        self._books[name] = (update_id, sides)
        self._paced[name] = (now, 0)

    def _publish_partial(self, name: str, symbol: str, count: int, pace: int, now: int) -> None:
        book = self._state.books[symbol]
        if self._partial.get(name) == book.update_id or now - self._paced.get(name, (0, 0))[0] < pace:
            return
        rows = {
            side: [[text(price), text(size)] for price, size in book.levels(side)[:count]] for side in ("bids", "asks")
        }
        self._hub.publish(name, {"lastUpdateId": book.update_id, **rows})
        self._partial[name] = book.update_id
        self._paced[name] = (now, 0)


def _kline(symbol: str, interval: str, candle: Candle, now: int, *, closed: bool) -> Row:
    fields = {
        "t": candle.open_time,
        "T": candle.close_time,
        "s": symbol,
        "i": interval,
        "f": candle.first_id if candle.count else -1,
        "L": candle.last_id if candle.count else -1,
        "o": text(candle.open),
        "c": text(candle.close),
        "h": text(candle.high),
        "l": text(candle.low),
        "v": text(candle.volume),
        "n": candle.count,
        "x": closed,
        "q": text(candle.quote),
        "V": text(candle.taker_volume),
        "Q": text(candle.taker_quote),
        "B": "0",
    }
    return {"e": "kline", "E": now, "s": symbol, "k": fields}
