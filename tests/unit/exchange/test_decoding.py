"""The decoder of the exchange's answers: bounded, exact, and never quoting what it could not read."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fortctl.exchange.decoding import MAX_DEPTH, Answer, UnreadableAnswerError, answers, decode_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def test_document_at_depth_limit_is_read_and_one_deeper_is_refused() -> None:
    assert decode_json(nested(MAX_DEPTH)) == json.loads(nested(MAX_DEPTH))
    with pytest.raises(UnreadableAnswerError, match="levels deep"):
        decode_json(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("depth", [1_000, 100_000, 3_000_000])
def test_very_deep_document_is_refused_without_recursion(depth: int) -> None:
    with pytest.raises(UnreadableAnswerError, match="levels deep"):
        decode_json(b'{"a":' * depth)


def test_brackets_inside_texts_do_not_count_as_depth() -> None:
    text = "[{" * 100 + '\\"' + "[" * 100
    assert decode_json(json.dumps({"text": text, "quote": '"[[['}))["text"] == text


def test_wide_document_is_not_deep() -> None:
    document = [{"a": [1]} for _ in range(1_000)]
    assert decode_json(json.dumps(document)) == document


@pytest.mark.parametrize("data", [b"", b"null x", b"<html>", b"{", b'{"a":NaN}', b"\xff\xfe", b'"\x00'])
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableAnswerError, match="is not JSON"):
        decode_json(data)


def test_document_over_byte_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(UnreadableAnswerError, match="more than 10 bytes"):
        decode_json(b'"' + b"a" * 20 + b'"', max_bytes=10)


@pytest.mark.parametrize("text", ["0", "1.50000000", "-2", "12345678901234567890.12345678", "1e-8", "1E+2", "0E-8"])
def test_number_within_bounds_is_read_exactly(text: str) -> None:
    assert Answer({"p": text}, "order").decimal("p") == Decimal(text)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "NaN",
        "Infinity",
        "-inf",
        "1e999",
        "1e999999999",
        "1" * 100,
        "0x10",
        "1,5",
        " 1",
        "1 ",
        "١",
        1.5,
        True,
        [],
        {},
        2**80,
    ],
)
def test_number_out_of_bounds_or_of_another_kind_is_refused_by_name(value: Any) -> None:
    with pytest.raises(UnreadableAnswerError) as caught:
        Answer({"price": value}, "order").decimal("price")
    assert caught.value.field == "order.price"


@pytest.mark.parametrize("value", [True, "5", 5.0, None, -1, 2**63])
def test_whole_number_of_another_kind_or_out_of_bounds_is_refused(value: Any) -> None:
    with pytest.raises(UnreadableAnswerError):
        Answer({"orderId": value}, "order").integer("orderId")


@pytest.mark.parametrize("value", ["2026-01-01", 1_764_547_200_000_000, -5, 1.5])
def test_time_that_is_text_or_in_microseconds_is_refused(value: Any) -> None:
    with pytest.raises(UnreadableAnswerError, match=r"key\.createTime"):
        Answer({"createTime": value}, "key").optional_time("createTime")


@pytest.mark.parametrize("value", ["true", 1, 0, None, []])
def test_flag_must_be_true_or_false(value: Any) -> None:
    with pytest.raises(UnreadableAnswerError):
        Answer({"canTrade": value}, "account").flag("canTrade")


def test_negative_amount_is_refused() -> None:
    with pytest.raises(UnreadableAnswerError, match="negative"):
        Answer({"free": "-1"}, "balance").amount("free")


@pytest.mark.parametrize("value", [{}, None, "[]", 3])
def test_what_is_not_a_list_is_no_list_of_orders(value: Any) -> None:
    with pytest.raises(UnreadableAnswerError, match="is not a list"):
        answers(value, "openOrders", "order")


def test_error_does_not_quote_the_value() -> None:
    with pytest.raises(UnreadableAnswerError) as caught:
        Answer({"price": "\x1b]0;owned\x07"}, "order").decimal("price")
    assert "owned" not in str(caught.value)


@given(JSON, st.sampled_from(["text", "integer", "time", "decimal", "amount", "flag", "answer", "texts"]))
def test_any_value_is_read_or_refused_by_name(value: Any, kind: str) -> None:
    try:
        getattr(Answer({"field": value}, "row"), kind)("field")
    except UnreadableAnswerError as error:
        assert error.field == "row.field"


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    try:
        decode_json(data)
    except UnreadableAnswerError:
        return
