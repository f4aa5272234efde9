"""Fixtures of the component tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.rotation_world import PERSON, Stage


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """An account with both keys, its robot trading; ``@pytest.mark.issuer(SUB_ACCOUNT)``: an issuer makes its keys."""
    marker = request.node.get_closest_marker("issuer")
    one = Stage(tmp_path / "home", marker.args[0] if marker else PERSON)
    yield one
    one.end()
