"""``robot report`` and ``robot configure --strategy``: what a shell sees; no exchange and no robot needed."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from fortctl.robot.core.events import AssetsNamed, Configured, FillRecorded, OrderIntended, OrderStatusReported
from fortctl.robot.core.settings import GridSettings
from fortctl.robot.storage.journal import SqliteJournal
from fortctl.system.clock import SystemClock
from support.harness import REPOSITORY, clean_environment, run_text

GRID = ["robot", "configure", "--symbol", "XRPETH", "--take-profit", "0.3", "--order-quote", "0.05"]


def run(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_text(("--home", str(home), *words), **environment)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    made = run(home, "init", "--exchange", "http://127.0.0.1:9", "--slot", "keyfile", "--json")
    assert made.returncode == 0, made.stdout
    return home


def _trade(home: Path) -> None:
    journal = SqliteJournal(home / "robots" / "default" / "journal.sqlite", account="default", clock=SystemClock())
    price, hundred = Decimal("0.002"), Decimal(100)
    settings = GridSettings("XRPETH", 4, Decimal("0.5"), Decimal("0.5"), Decimal("0.2"))
    day = 86_400_000
    journal.append([Configured(settings.as_json()), AssetsNamed("XRP", "ETH")])
    for cycle in (1, 2):
        buy, sell, at = f"b{cycle}", f"s{cycle}", cycle * day
        journal.append(
            [
                OrderIntended(cycle, 1, "buy", 1, buy, price, hundred, Decimal(0), at),
                FillRecorded(buy, cycle * 2, price, hundred, Decimal("0.2"), Decimal(0), "ETH", at),
                OrderStatusReported(buy, 1, "FILLED", hundred),
                OrderIntended(cycle, 1, "sell", 1, sell, price * 2, hundred, Decimal(0), at),
                FillRecorded(sell, cycle * 2 + 1, price * 2, hundred, Decimal("0.4"), Decimal("0.01"), "ETH", at + 1),
                OrderStatusReported(sell, 2, "FILLED", hundred),
            ]
        )
    journal.close()


def test_a_report_works_offline_in_every_form(home: Path) -> None:
    empty = run(home, "robot", "report", "--json")
    assert empty.returncode == 0 and json.loads(empty.stdout)["data"]["rows"] == []
    _trade(home)
    document = json.loads(run(home, "robot", "report", "--json").stdout)
    assert document["changed"] is False and document["data"]["by"] == "symbol"
    assert document["data"]["totals"]["profit"] == {"ETH": {"realised": "0.38", "unrealised": "0", "fees": "0.02"}}
    raw = json.loads(run(home, "robot", "report", "--by", "day", "--format", "json").stdout)
    assert [(row["day"], row["realised_profit"]) for row in raw["rows"]] == [
        ("1970-01-02", "0.19"),
        ("1970-01-03", "0.19"),
    ]
    printed = run(home, "robot", "report", "--by", "cycle", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(printed.stdout)))
    assert [row["id"] for row in rows] == ["1", "2"] and rows[0]["commissions"] == "ETH 0.01"
    assert printed.stdout.endswith("ETH\n") and "\n\n" not in printed.stdout
    plain = run(home, "robot", "report").stdout
    assert "XRPETH" in plain and "0.38" in plain
    assert run(home, "robot", "report", "--by", "week").returncode == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--levels", "4"], "missing option '--step'"),
        (["--step", "0.3"], "missing option '--levels'"),
        (["--levels", "4", "--step", "0.3", "--set", "every=1h"], "--set requires --strategy"),
        (["--strategy", "dca", "--levels", "4"], "--levels is the grid's"),
        (["--strategy", "dca", "--no-trail-up"], "--trail-up is the grid's"),
        (["--strategy", "dca", "--set", "every"], "--set takes NAME=VALUE"),
        (["--strategy", "dca", "--set", "every=1h", "--set", "every=2h"], "each name once"),
    ],
)
def test_options_that_do_not_go_together(home: Path, words: list[str], said: str) -> None:
    refused = run(home, *GRID, *words, "--json")
    assert refused.returncode == 2 and said in json.loads(refused.stdout)["error"]["message"]


def test_a_strategy_is_found_by_its_name_and_checks_its_options(home: Path, tmp_path: Path) -> None:
    missing = run(home, *GRID, "--strategy", "dca", "--set", "every=1h", "--json")
    assert missing.returncode == 7 and "no strategy 'dca'" in json.loads(missing.stdout)["error"]["message"]
    site = tmp_path / "site"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--no-index", "--no-build-isolation", "--target", str(site)),
            str(REPOSITORY / "examples" / "fortctl-strategy-dca"),
        ],
        check=True,
        capture_output=True,
    )
    wrong = run(home, *GRID, "--strategy", "dca", "--set", "every=often", "--json", PYTHONPATH=str(site))
    assert wrong.returncode == 2 and "every must be a number" in json.loads(wrong.stdout)["error"]["message"]
    listed = json.loads(run(home, "plugins", "list", "--json", PYTHONPATH=str(site)).stdout)["data"]["plugins"]
    assert [(row["name"], row["kind"], row["state"]) for row in listed] == [("dca", "strategy", "ok")]
    done = run(
        *(home, *GRID, "--max-quote", "0.3", "--strategy", "dca", "--set", "every=10m", "--json"), PYTHONPATH=str(site)
    )
    assert done.returncode == 0, done.stdout
    config = json.loads(done.stdout)["data"]["robot"]["config"]
    assert (config["strategy"], config["options"]) == ("dca", {"every": "10m"})
    assert run(home, "panic-disconnect", "--yes").returncode in (0, 12)


def test_the_example_passes_the_suite(tmp_path: Path) -> None:
    example = REPOSITORY / "examples" / "fortctl-strategy-dca"
    (tmp_path / "none.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            str(tmp_path / "none.ini"),
            "--rootdir",
            str(tmp_path),
            str(example / "tests"),
        ],
        capture_output=True,
        text=True,
        env=clean_environment(PYTHONPATH=str(example / "src"), PYTHONDONTWRITEBYTECODE="1"),
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout
