"""Fixtures of the tests that start the executable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.harness import Shell
from support.hosts import Hosts, two_hosts


@pytest.fixture
def hosts(tmp_path: Path, shell: Shell, request: pytest.FixtureRequest) -> Iterator[Hosts]:
    """An operator's host and a robot's, over one mailbox; the parameter ``postgresql`` puts it into a database."""
    database = request.getfixturevalue("postgres") if getattr(request, "param", None) == "postgresql" else None
    with two_hosts(tmp_path, shell, database) as both:
        yield both
