"""The example strategy trades: installed as anybody would, under ``robot run``, against the paper exchange."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from fortctl.robot.process.owner_lock import owner_of
from support.example_strategy import install
from support.harness import Shell
from support.hosted_exchange import serve
from support.replaying import until

PURCHASES, ROUNDS = 3, 20
DAY_MS = 86_400_000
HIGH, LOW = 51_000.01, 48_500.01


@contextmanager
def robot_run(shell: Shell) -> Iterator[None]:
    """Go on, under ``robot run``, with what a robot that a command brought up was told."""
    folder = shell.home / "robots" / "default"
    owner = owner_of(folder)
    assert owner is not None
    os.kill(owner.pid, signal.SIGTERM)
    until(lambda: owner_of(folder) is None, "its end")
    process = subprocess.Popen(
        shell.argv("robot", "run"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=shell.environment,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def prices() -> Iterator[tuple[int, float]]:
    """Yield trades by number: down through what is bid, and up again beyond the profit that is wanted."""
    for number in range(1, 2 * ROUNDS + 4):
        yield number, HIGH if number % 2 else LOW


def bids(status: dict[str, Any]) -> list[float]:
    return [float(order["price"]) for order in status["orders"] if order["side"] == "BUY"]


def reaches(status: dict[str, Any]) -> bool:
    """Return whether the next fall meets a purchase, or enough of them have earned their profit."""
    return status["cycles"]["closed"] >= PURCHASES or any(price > LOW for price in bids(status))


def settles(status: dict[str, Any]) -> bool:
    """Return whether what a fall has met is offered again; a purchase that was just being bid anew is met by none."""
    return len(bids(status)) < status["orders_open"] or any(price < LOW for price in bids(status))


def test_dollar_cost_averaging_buys_in_its_time_and_sells_each_purchase_at_its_profit(
    shell: Shell, tmp_path: Path
) -> None:
    install(tmp_path / "site")
    shell.environment["PYTHONPATH"] = str(tmp_path / "site")
    market = tmp_path / "BTCUSDT-trades-2024-01-01.csv"
    market.write_text("".join(f"{n},{price},9.00001,{9 * price},{n * DAY_MS},True,True\n" for n, price in prices()))
    paper = serve(shell, "--market", str(market), "--limits", "off")
    try:
        if shell.ok("paper", "market", "pause")["position"] % 2 == 0:
            shell.ok("paper", "market", "step", "1")
        shell.ok("init", "--exchange", "paper", "--slot", "keyfile")
        shell.ok("keys", "add", "--role", "site", "--input", "-", stdin=shell.paper_key("site-1", "reading"))
        robot_key = shell.paper_key("robot-1", "reading,spot_trading")
        shell.ok("keys", "add", "--role", "robot", "--input", "-", stdin=robot_key)
        shell.ok(
            *("robot", "configure", "--strategy", "dca", "--set", "every=2s", "--set", "below=3"),
            *("--symbol", "BTCUSDT", "--take-profit", "0.5", "--order-quote", "100", "--max-quote", "1000"),
        )
        shell.ok("config", "set", "resume.max_drift", "100")
        shell.ok("robot", "start")
        with robot_run(shell):
            for _ in range(ROUNDS):
                if shell.await_status(reaches, what="a purchase")["cycles"]["closed"] >= PURCHASES:
                    break
                shell.ok("paper", "market", "step", "1")
                shell.await_status(settles, what="a sell")
                shell.ok("paper", "market", "step", "1")
            shell.ok("robot", "stop", "--now", "--cancel-orders")
            status = shell.await_state("stopped")
        assert status["config"]["strategy"] == "dca" and not status["orders"]
        closed = [row for row in shell.ok("robot", "cycles")["cycles"] if row["state"] == "closed"]
        assert len(closed) >= PURCHASES
        for row in closed:
            spent = Decimal(row["buy"]["price"]) * Decimal(row["buy"]["filled"])
            # To the lot: what it leaves over is dust at cost.
            assert Decimal(row["profit"]) >= spent * Decimal("0.0049"), row
        sides = [trade["side"] for trade in shell.ok("account", "trades", "--symbol", "BTCUSDT")["trades"]]
        assert sides.count("BUY") >= PURCHASES and sides.count("SELL") >= PURCHASES
    finally:
        paper.stop()
