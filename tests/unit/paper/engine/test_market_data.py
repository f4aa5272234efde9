"""Recordings: the archive's files, several of one symbol, and what is wrong with a line."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fortctl.errors import BadInputError
from fortctl.paper.engine import market_data
from fortctl.paper.engine.market_data import load, load_all
from fortctl.paper.engine.trades import history
from fortctl.paper.engine.trades import table as trade_table
from fortctl.paper.engine.trades.table import Trade, TradeTable
from fortctl.paper.server.replay import MergedTrades

HEADER = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match\n"


def line(number: int, time: int, price: str = "40000.10000000", size: str = "0.00100000") -> str:
    return f"{number},{price},{size},40.0,{time},True,True\n"


def lines(first: int, last: int, every: int = 1) -> str:
    """Return the trades first to last, a second apart."""
    return "".join(line(number, 1_700_000_000_000 + 1000 * number) for number in range(first, last + 1, every))


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def numbers(recording: market_data.Recording) -> list[int]:
    return [trade.id for trade in recording.trades]


trades = st.builds(
    Trade,
    st.integers(0, 2**50),
    st.decimals("0.000000001", "99999999999999", places=9),
    st.decimals("0.00000001", "99999999999999999999", places=8),
    st.integers(0, 2**45),
    st.booleans(),
)


@given(st.lists(trades, max_size=40), st.integers(1, 7))
def test_a_table_returns_the_trades_that_were_appended(rows: list[Trade], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trade_table, "BLOCK", block)
        table = TradeTable(rows)
    assert list(table) == rows and len(table) == len(rows)
    assert [table[index] for index in range(-len(rows), len(rows))] == rows + rows
    assert [table.time(index) for index in range(len(rows))] == [trade.time for trade in rows]
    if rows:
        needed = [max(0, -int(price.normalize().as_tuple().exponent)) for price in (row.price for row in rows)]
        assert table.precisions()[0] == max(needed)


def test_files_of_one_symbol_are_merged_by_time_whatever_their_order(tmp_path: Path) -> None:
    later = write(tmp_path / "BTCUSDT-trades-2024-02.csv", HEADER + lines(11, 20))
    earlier = write(tmp_path / "BTCUSDT-trades-2024-01.csv", lines(1, 10))
    (recording,) = load_all([later, earlier]).values()
    assert numbers(recording) == list(range(1, 21))


def test_files_of_one_symbol_that_overlap_are_merged_by_time(tmp_path: Path) -> None:
    odd = write(tmp_path / "BTCUSDT-trades-odd.csv", lines(1, 19, 2))
    even = write(tmp_path / "BTCUSDT-trades-even.csv", lines(2, 20, 2))
    other = write(tmp_path / "ETHUSDT-trades-2024.csv", lines(5, 8))
    found = load_all([even, other, odd])
    assert numbers(found["BTCUSDT"]) == list(range(1, 21)) and numbers(found["ETHUSDT"]) == [5, 6, 7, 8]
    rows = MergedTrades(found)
    times = [rows.time(index) for index in range(len(rows))]
    assert len(rows) == 24 and times == sorted(times) == [rows[index][1].time for index in range(24)]


def test_a_trade_in_two_files_is_named_with_both_lines(tmp_path: Path) -> None:
    month = write(tmp_path / "BTCUSDT-trades-2024-01.csv", HEADER + lines(1, 10))
    day = write(tmp_path / "BTCUSDT-trades-2024-01-03.csv", lines(4, 6))
    with pytest.raises(BadInputError) as doubled:
        load_all([month, day])
    assert "line 1 of BTCUSDT-trades-2024-01-03.csv doubles line 5 of BTCUSDT-trades-2024-01.csv" in str(doubled.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (lines(1, 3) + line(3, 1_700_000_003_000), "line 4 of X.csv .*: it doubles trade 3"),
        (lines(1, 3) + line(2, 1_700_000_009_000), "line 4 of X.csv .*: its number 2 lies below"),
        (lines(1, 3) + line(4, 1_700_000_001_000), "line 4 of X.csv .*: its time lies before"),
        (lines(1, 3) + "4,5\n", "line 4 of X.csv .*: it has 2 fields, not 7"),
        (lines(1, 3) + "\n" + lines(4, 5), "line 4 of X.csv .*: it is blank"),
        (lines(1, 1) + line(2, 1_700_000_009_000, price="NaN"), "line 2 of X.csv .*"),
        (lines(1, 1) + line(2, 1_700_000_009_000, size="-1"), "line 2 of X.csv .*"),
        (lines(1, 1) + line(2, 1_700_000_009_000, size="0"), "line 2 of X.csv .*"),
        (lines(1, 1) + lines(2, 2).replace("True,True", "yes,True"), "line 2 of X.csv .*isBuyerMaker"),
    ],
)
def test_a_line_that_is_no_trade_is_named_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    path = write(tmp_path / "X.csv", text)
    with pytest.raises(BadInputError, match=reason):
        load(path, "BTCUSDT")


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "  \n"])
def test_blank_lines_at_the_end_are_accepted(tmp_path: Path, end: str) -> None:
    assert numbers(load(write(tmp_path / "BTCUSDT-trades.CSV", lines(1, 3) + end))) == [1, 2, 3]


def test_an_archive_from_a_mac_and_capital_suffixes_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-trades-2024-01.ZIP"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("BTCUSDT-trades-2024-01.CSV", lines(1, 3))
        archive.writestr("__MACOSX/._BTCUSDT-trades-2024-01.CSV", "\0\0")
    assert numbers(load(str(path))) == [1, 2, 3]
    packed = tmp_path / "BTCUSDT-trades-2024-02.csv.GZ"
    packed.write_bytes(gzip.compress(lines(4, 5).encode()))
    assert numbers(load(str(packed))) == [4, 5]


def test_a_checksum_beside_a_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-trades-2024-01.csv"
    write(path, lines(1, 3))
    beside = tmp_path / f"{path.name}.CHECKSUM"
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    assert numbers(load(str(path))) == [1, 2, 3]
    write(path, lines(1, 2))
    with pytest.raises(BadInputError, match="is not the file that"):
        load(str(path))
    beside.write_text("<html>")
    with pytest.raises(BadInputError, match="holds no SHA-256"):
        load(str(path))


def test_prices_have_the_finest_decimals_as_their_tick(tmp_path: Path) -> None:
    text = line(1, 1_700_000_000_000, "0.1230000000", "10") + line(2, 1_700_000_000_001, "0.12345678901", "2.5")
    recording = load(write(tmp_path / "PEPEUSDT-trades.csv", text))
    assert [trade.price for trade in recording.trades] == [Decimal("0.123"), Decimal("0.12345678901")]
    assert TradeTable(recording.trades).precisions() == (11, 1)


def test_reading_reports_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_data, "_PROGRESS_ROWS", 4)
    told: list[str] = []
    load_all([write(tmp_path / "BTCUSDT-trades.csv", lines(1, 9))], progress=told.append)
    assert told == ["reading BTCUSDT-trades.csv: 4 rows", "reading BTCUSDT-trades.csv: 8 rows"]


def test_a_history_is_bounded_although_all_of_it_happens_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 10)
    kept = history.TradeHistory()
    for number in range(95):
        kept.add(Trade(number, Decimal(number + 1), Decimal(1), 0, False), 1_700_000_000_000)
        assert len(kept) <= 20 and len(kept.aggregates(1_000)) <= 20
    last = [trade.price for _id, _time, trade in kept.last(20)]
    assert kept.average(1_700_000_000_000) == sum(last) / len(last)
    assert sum(candle.count for candle in kept.candles("1m", 5)) == 95
