"""freqtrade, live: its own executable trades at the paper exchange, and both tell the same story of it."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest

from compat.snippets import snippet

HERE = Path(__file__).resolve().parent
# freqtrade's own exit code after Ctrl-C, when nothing else went wrong.
INTERRUPTED = 130
DEPOSIT = Decimal(5000)


class Freqtrade:
    """A ``freqtrade trade`` process, its trade database, and the account that it trades for."""

    process: subprocess.Popen[bytes]

    def __init__(self, exchange: Any, folder: Path, strategy: str) -> None:
        # Without bitcoin at first: the commission on what is bought must come out of that.
        exchange.paper("accounts", "create", "trader", "--deposit", f"USDT={DEPOSIT}")
        self.exchange = exchange
        self.key = exchange.key("freqtrade", "reading,spot_trading", "--paper-account", "trader")
        placed = {"http://127.0.0.1:8700": exchange.url, "ws://127.0.0.1:8700": exchange.ws_url}
        text = snippet("freqtrade", "json")
        for ours, theirs in placed.items():
            text = text.replace(ours, theirs)
        self.settings = json.loads(text)
        self.settings["exchange"] |= {"key": self.key["api_key"], "secret": self.key["secret_key"]}
        (folder / "paper.json").write_text(json.dumps(self.settings))
        (folder / "user_data").mkdir()
        self.database, self.log = folder / "trades.sqlite", folder / "freqtrade.log"
        self.folder, self.strategy = folder, strategy
        self.start()

    def start(self) -> None:
        # A shell's background job ignores SIGINT, and every process below it would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        folder = self.folder
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(str(Path(sys.executable).parent / "freqtrade"), "trade", "--no-color"),
                    *("-c", str(HERE / "config.json"), "-c", str(folder / "paper.json")),
                    *("--strategy", self.strategy, "--strategy-path", str(HERE)),
                    *("--userdir", str(folder / "user_data"), "--db-url", f"sqlite:///{self.database}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table of the trade database; nothing while there is none."""
        if not self.database.is_file():
            return []
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            known = database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
            return [dict(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY id")] if known else []

    def account(self) -> ccxt.binance:
        """Return a client of the same account, not freqtrade's."""
        return ccxt.binance(
            {
                "apiKey": self.key["api_key"],
                "secret": self.key["secret_key"],
                **self.settings["exchange"]["ccxt_config"],
            }
        )

    def wait(self, wanted: Callable[[], Any], what: str, meanwhile: Callable[[], Any] = lambda: None) -> Any:
        deadline = time.monotonic() + 240
        while not (found := wanted()):
            assert self.process.poll() is None, f"freqtrade ended: {self.said()}"
            assert time.monotonic() < deadline, f"{what} did not come: {self.said()}"
            meanwhile()
            time.sleep(0.5)
        return found

    def closed_trade(self) -> dict[str, Any] | None:
        return next((row for row in self.rows("trades") if not row["is_open"]), None)

    def said(self) -> str:
        return self.log.read_text()[-8000:]

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture
def freqtrade(tmp_path: Path) -> Iterator[Callable[[Any, str], Freqtrade]]:
    started: list[Freqtrade] = []

    def start(exchange: Any, strategy: str) -> Freqtrade:
        started.append(Freqtrade(exchange, tmp_path, strategy))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def total(fills: list[dict[str, Any]], name: str) -> Decimal:
    return sum((Decimal(fill[name]) for fill in fills), Decimal())


def must_agree(bot: Freqtrade) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Check freqtrade's database against the account; return the account's orders and freqtrade's trade."""
    (trade,) = bot.rows("trades")
    noted = {row["order_id"]: row for row in bot.rows("orders")}
    account = bot.account()
    orders = account.private_get_allorders({"symbol": "BTCUSDT"})
    fills = account.private_get_mytrades({"symbol": "BTCUSDT"})
    assert not account.private_get_openorders({"symbol": "BTCUSDT"})

    statuses = {"FILLED": "closed", "CANCELED": "canceled"}
    assert set(noted) == {str(order["orderId"]) for order in orders}
    for order in orders:
        row = noted[str(order["orderId"])]
        assert (row["status"], row["side"], row["ft_is_open"]) == (statuses[order["status"]], order["side"].lower(), 0)
        assert row["filled"] == float(order["executedQty"]) and row["amount"] == float(order["origQty"])
        assert row["cost"] == pytest.approx(float(order["cummulativeQuoteQty"]), abs=1e-8)

    bought, sold = ([fill for fill in fills if fill["isBuyer"] is side] for side in (True, False))
    assert trade["open_rate"] == pytest.approx(float(total(bought, "quoteQty") / total(bought, "qty")))
    assert trade["close_rate"] == pytest.approx(float(total(sold, "quoteQty") / total(sold, "qty")))
    assert trade["amount"] == float(total(sold, "qty"))
    assert trade["fee_open_currency"] == "BTC" and {fill["commissionAsset"] for fill in bought} == {"BTC"}
    assert trade["fee_close_currency"] == "USDT" and {fill["commissionAsset"] for fill in sold} == {"USDT"}
    assert trade["fee_close_cost"] == pytest.approx(float(total(sold, "commission")), abs=1e-8)
    balances = {row["asset"]: Decimal(row["free"]) for row in account.private_get_account()["balances"]}
    gained = total(sold, "quoteQty") - total(sold, "commission") - total(bought, "quoteQty")
    assert balances["USDT"] == DEPOSIT + gained
    # What is left of the bitcoin is less than a lot; freqtrade's profit does not count it.
    left = total(bought, "qty") - total(bought, "commission") - total(sold, "qty")
    assert balances["BTC"] == left and 0 <= left < Decimal("0.00001")
    assert trade["close_profit_abs"] == pytest.approx(float(gained) + float(left) * trade["open_rate"], abs=0.01)
    return orders, trade


def must_have_ended_well(bot: Freqtrade) -> None:
    assert bot.interrupt() == INTERRUPTED, bot.said()
    said = bot.log.read_text()
    assert "SIGINT received" in said
    assert not [line for line in said.splitlines() if " - ERROR - " in line or "Traceback" in line], said
    refused = [
        one for one in bot.exchange.paper("requests")["requests"] if one["via"] == "rest" and one["status"] != 200
    ]
    assert not refused


def filled(orders: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(one["type"], one["side"], one["status"]) for one in orders if Decimal(one["executedQty"])]


def test_it_buys_and_sells(moving: Any, freqtrade: Callable[[Any, str], Freqtrade]) -> None:
    bot = freqtrade(moving, "SoldSoon")
    bot.wait(bot.closed_trade, "a closed trade")
    must_have_ended_well(bot)
    orders, trade = must_agree(bot)
    assert filled(orders) == [("LIMIT", "BUY", "FILLED"), ("MARKET", "SELL", "FILLED")]
    assert ("STOP_LOSS_LIMIT", "CANCELED") in {(one["type"], one["status"]) for one in orders}
    assert trade["exit_reason"] == "soon"


def test_the_stop_at_the_exchange_sells(exchange: Any, freqtrade: Callable[[Any, str], Freqtrade]) -> None:
    bot = freqtrade(exchange, "SoldByItsStop")
    bot.wait(lambda: bot.rows("orders"), "a bid")
    bot.wait(bot.closed_trade, "a closed trade", lambda: exchange.paper("market", "step", "20"))
    must_have_ended_well(bot)
    orders, trade = must_agree(bot)
    assert filled(orders) == [("LIMIT", "BUY", "FILLED"), ("STOP_LOSS_LIMIT", "SELL", "FILLED")]
    assert trade["exit_reason"] == "stoploss_on_exchange"


def test_it_learns_what_its_stop_did_while_it_was_away(
    exchange: Any, freqtrade: Callable[[Any, str], Freqtrade]
) -> None:
    bot = freqtrade(exchange, "SoldByItsStop")
    bot.wait(lambda: bot.rows("orders"), "a bid")
    bot.wait(
        lambda: [row for row in bot.rows("orders") if row["ft_order_side"] == "stoploss"],
        "a stop order",
        lambda: exchange.paper("market", "step", "20"),
    )
    must_have_ended_well(bot)
    account = bot.account()
    (stop,) = account.private_get_openorders({"symbol": "BTCUSDT"})
    assert stop["type"] == "STOP_LOSS_LIMIT" and not bot.closed_trade()
    for _ in range(100):
        exchange.paper("market", "step", "100")
        if not account.private_get_openorders({"symbol": "BTCUSDT"}):
            break
    bot.start()
    bot.wait(bot.closed_trade, "a closed trade")
    must_have_ended_well(bot)
    orders, trade = must_agree(bot)
    assert filled(orders) == [("LIMIT", "BUY", "FILLED"), ("STOP_LOSS_LIMIT", "SELL", "FILLED")]
    assert trade["exit_reason"] == "stoploss_on_exchange"
