"""What the command line takes for a number of seconds."""

from __future__ import annotations

import click
import pytest

from fortctl.cli.options import Seconds


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "4000", "soon"])
def test_what_never_passes_is_none(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Seconds(0, 3600).convert(text, None, None)


def test_what_passes_is_one() -> None:
    assert [Seconds(0).convert(text, None, None) for text in ("0", "0.5", "600")] == [0.0, 0.5, 600.0]
