"""Events survive the journal: what ``from_json`` reads is what ``as_json`` wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal

import pytest

from fortctl.robot.core.events import Event


@dataclass(frozen=True)
class Sample(Event):
    """An event with each kind of decimal field."""

    price: Decimal
    worth: Decimal | None = None
    note: str | None = None


@pytest.mark.parametrize("worth", [None, Decimal("0"), Decimal("1.50")])
def test_a_decimal_that_may_be_none_is_read_back_as_it_was(worth: Decimal | None) -> None:
    read = Sample.from_json(json.loads(json.dumps(Sample(Decimal("2.10"), worth, "1").as_json())))
    assert read == Sample(Decimal("2.10"), worth, "1")
    assert type(read.worth) is type(worth) and read.note == "1"


def test_a_field_that_an_older_journal_lacks_has_its_default() -> None:
    assert Sample.from_json({"price": "2"}) == Sample(Decimal(2))
