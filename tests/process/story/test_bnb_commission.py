"""Commissions in BNB, from the paper exchange's account to the robot's profit, with real processes."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from simulation.invariants import profit_explained
from support.harness import Shell
from support.replaying import XRPETH, Replay, until

# What one BNB is worth here: it is the price that the simulated worlds know, too.
TRADE = "{number},0.08000000,1.00000000,0.08000000,{time},True,True\n"


GIVEN = Decimal("0.002")


def _bnb(replay: Replay) -> Decimal:
    (account,) = [one for one in replay.page("accounts/list")["accounts"] if one["name"] == "default"]
    return Decimal(account["free"]["BNB"])


def bnb_market(folder: Path) -> Path:
    path = folder / "BNBETH-trades-2019-10-11.csv"
    path.write_text("".join(TRADE.format(number=number, time=1_570_752_000_000 + number) for number in range(1, 4)))
    return path


def test_commissions_in_bnb_are_in_the_profit_and_in_the_report(shell: Shell, tmp_path: Path) -> None:
    """For some orders only: the BNB run out, and the rest is charged in base and quote."""
    replay = Replay(shell, XRPETH, "--market", str(bnb_market(tmp_path)), "--speed", "4000", "--limits", "off")
    try:
        # It was paused at once: what nobody has traded yet has no price to lay levels below.
        replay.page("market", action="step", count=20)
        replay.page("accounts/edit", name="default", pays_in_bnb=True)
        replay.page("deposit", asset="BNB", amount=str(GIVEN - _bnb(replay)))
        replay.set_up()
        replay.run_robot()
        replay.await_running()
        replay.page("market", action="resume")
        until(lambda: replay.status().get("cycles", {}).get("closed", 0) >= 2, "a cycle that is paid for in BNB")
        replay.kill()
        replay.run_robot()
        until(lambda: replay.status().get("cycles", {}).get("closed", 0) >= 5, "a cycle after the BNB ran out")
        replay.page("market", action="pause")
        truth, book = replay.await_equal()
        charged: dict[str, Decimal] = {}
        moved: dict[str, Decimal] = {}
        for row in truth.trades:
            asset, commission = row["commissionAsset"], Decimal(row["commission"])
            charged[asset] = charged.get(asset, Decimal(0)) + commission
            sign = 1 if row["isBuyer"] else -1
            moved["ETH"] = moved.get("ETH", Decimal(0)) - sign * Decimal(row["quoteQty"])
            moved[asset] = moved.get(asset, Decimal(0)) - commission
        assert charged.keys() == {"BNB", "XRP", "ETH"} and GIVEN / 2 < charged["BNB"] <= GIVEN
        assert not profit_explained(book, moved)
        (row,) = shell.ok("robot", "report", "--by", "symbol")["rows"]
        assert {asset: Decimal(amount) for asset, amount in row["commissions"].items()} == charged
        assert _bnb(replay) == GIVEN - charged["BNB"]
    finally:
        replay.close()
