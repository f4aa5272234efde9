"""``keys verify`` after a panic: not found, whatever the mailbox still says of the robot's key."""

from __future__ import annotations

import asyncio

import pytest

from fortctl.errors import NotFoundError
from fortctl.model import Role
from support.rotation_world import Stage


@pytest.mark.parametrize("roles", [[Role.ROBOT], [Role.SITE, Role.ROBOT]], ids=["robot", "both"])
def test_verify_after_panic_killed_the_robot(stage: Stage, roles: list[Role]) -> None:
    """A robot killed before it could publish its loss leaves a card that still names the key."""
    stage.tools().vault.destroy_site_key()
    stage.robot.kill()
    stage.latch.latched = True
    tools = stage.tools()
    card = tools.client.card()
    assert card is not None and card.key is not None, "the stale card is what this test is about"
    with pytest.raises(NotFoundError):
        asyncio.run(tools.keys.verify(roles))
    assert stage.robot.owner() is None, "no robot is brought up for the question"
