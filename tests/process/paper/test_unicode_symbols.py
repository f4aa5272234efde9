"""A symbol that is not ASCII works from end to end: recording, robot, streams, account views (signed calls)."""

from __future__ import annotations

from pathlib import Path

from support.harness import Shell, serve_paper

SYMBOL = "币安人生USDT"


def test_a_symbol_that_is_not_ascii_works_from_end_to_end(shell: Shell, tmp_path: Path) -> None:
    recording = tmp_path / f"{SYMBOL}-trades-2025-12.csv"
    start = 1_700_000_000_000
    prices = [f"0.{4000 + (number % 60 if number % 120 < 60 else 60 - number % 60):04d}" for number in range(20_000)]
    rows = [f"{n},{price},100.0,40.0,{start + 500 * n},True,True" for n, price in enumerate(prices)]
    recording.write_text("\n".join(rows) + "\n")
    paper = serve_paper(shell, "--market", str(recording), "--speed", "max")
    try:
        assert paper.ready["symbols"] == [SYMBOL]
        shell.ok("init", "--exchange", "paper", "--slot", "keyfile")
        for role, rights in (("site", "reading"), ("robot", "reading,spot_trading")):
            key = shell.paper_key(f"{role}-1", rights)
            shell.ok("keys", "add", "--role", role, "--input", "-", stdin=key)
        shell.ok(
            *("robot", "configure", "--symbol", SYMBOL, "--levels", "3", "--step", "0.3", "--take-profit", "0.3"),
            *("--order-quote", "50"),
        )
        shell.ok("robot", "start")
        status = shell.await_status(lambda one: one["cycles"]["closed"] >= 2, 60, "closed cycles")
        assert status["config"]["symbol"] == SYMBOL and status["market_moved_at"] is not None
        assert {row["symbol"] for row in shell.ok("account", "orders", "--symbol", SYMBOL)["orders"]} <= {SYMBOL}
        assert {row["symbol"] for row in shell.ok("account", "orders", "--all")["orders"]} == {SYMBOL}
        assert {row["symbol"] for row in shell.ok("account", "trades", "--symbol", SYMBOL)["trades"]} == {SYMBOL}
        left = shell.ok("robot", "stop", "--now", "--cancel-orders")
        assert left["orders_left"] == [] and shell.ok("account", "orders")["orders"] == []
    finally:
        paper.stop()
