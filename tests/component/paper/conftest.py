"""A paper exchange in the test's process, for each test its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fortctl.paper.testing import PaperExchange, in_process


@pytest.fixture
def exchange() -> Iterator[PaperExchange]:
    with in_process(market=["synthetic:3"], start=0.5) as one:
        one.pause()
        yield one
