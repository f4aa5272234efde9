"""Fixtures of the component tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fortctl.robot.control import command_processor
from support.rotation_world import PERSON, NoTraces, Stage


@pytest.fixture
def no_scrubbing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the memory as it is: to search that of the whole test run for each key costs seconds."""
    monkeypatch.setattr(command_processor, "SecretScrubber", NoTraces)


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """An account with both keys, its robot trading; ``@pytest.mark.issuer(SUB_ACCOUNT)``: an issuer makes its keys."""
    marker = request.node.get_closest_marker("issuer")
    one = Stage(tmp_path / "home", marker.args[0] if marker else PERSON)
    yield one
    one.end()
