"""Every answer that Binance documents is read without loss (tests/vectors/binance)."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fortctl.exchange import parsing
from fortctl.exchange.decoding import UnreadableAnswerError, decode_json
from fortctl.exchange.http_answer import refusal
from fortctl.exchange.streams import user_connection
from fortctl.exchange.streams.market import MarketStream

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "binance" / "answers.json").read_text(encoding="utf-8"))


def named(section: str) -> list[Any]:
    return [pytest.param(vector, id=vector.get("name") or str(vector["body"])) for vector in VECTORS[section]]


def value_at(found: Any, path: str) -> str:
    for step in path.split("."):
        found = found[int(step)] if step.isdigit() else getattr(found, step)
    return f"{found:f}" if isinstance(found, Decimal) else str(found)


@pytest.mark.parametrize("vector", named("read"))
def test_a_documented_answer_is_read_without_loss(vector: dict[str, Any]) -> None:
    document = decode_json(json.dumps(vector["answer"]))
    found = getattr(parsing, vector["reader"])(document)
    assert {path: value_at(found, path) for path in vector["reads"]} == vector["reads"]


@pytest.mark.parametrize("vector", named("unreadable"))
def test_an_answer_that_lacks_what_is_needed_names_the_field(vector: dict[str, Any]) -> None:
    with pytest.raises(UnreadableAnswerError) as unreadable:
        getattr(parsing, vector["reader"])(vector["answer"])
    assert str(unreadable.value) == vector["why"]


@pytest.mark.parametrize("vector", named("user_events_without_a_reader"))
def test_a_user_event_that_the_robot_does_not_need_has_no_reader(vector: dict[str, Any]) -> None:
    assert vector["event"]["e"] not in user_connection._READERS


@pytest.mark.parametrize("vector", named("market_events_without_a_reader"))
def test_a_market_event_that_is_not_a_trade_is_left_out(
    vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[Any] = []
    stream = MarketStream(lambda: pytest.fail("it connects"))
    monkeypatch.setattr(stream, "_publish", published.append)
    stream._on_frame(vector["event"])
    assert published == []


@pytest.mark.parametrize("vector", named("errors"))
def test_a_documented_error_keeps_its_text_and_has_its_reading(vector: dict[str, Any]) -> None:
    body = vector["body"]
    fault = refusal(vector["status"], json.dumps(body).encode(), None)
    assert (fault.outcome.value, fault.code, fault.message) == (vector["outcome"], body["code"], body["msg"])
