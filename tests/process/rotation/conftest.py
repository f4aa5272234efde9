"""Fixtures of the rotation with real processes."""

from __future__ import annotations

import pytest

from support.harness import THREE_LEVELS, Shell


@pytest.fixture
def trading(keyed: Shell) -> Shell:
    """A home with both keys and a robot that trades."""
    keyed.ok(*THREE_LEVELS, "--order-quote", "50")
    keyed.ok("robot", "start")
    keyed.await_status(lambda status: status["orders_open"] == 3)
    return keyed
