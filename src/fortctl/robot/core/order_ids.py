"""Client order ids: a pure function of robot, cycle, leg and attempt. Pure.

Binance allows ``^[a-zA-Z0-9-_]{1,36}$`` and wants uniqueness among open orders; these are unique for ever.
"""

from __future__ import annotations

import re

_PATTERN = re.compile(r"([1-9][0-9]{0,11})-([bs])([1-9][0-9]{0,5})")


def prefix_of(robot_id: str) -> str:
    """Return the prefix that marks an order as this robot's."""
    return f"fc{robot_id[:8]}-"


def client_order_id(robot_id: str, cycle: int, leg: str, attempt: int) -> str:
    """Return the id of one order.

    Args:
        leg: ``buy`` or ``sell``.
        attempt: 1 for the first try of the leg.
    """
    return f"{prefix_of(robot_id)}{cycle}-{leg[0]}{attempt}"


def parse(robot_id: str, text: str) -> tuple[int, str, int] | None:
    """Return (cycle, leg, attempt) of an id of this robot, or None."""
    prefix = prefix_of(robot_id)
    match = _PATTERN.fullmatch(text[len(prefix) :]) if text.startswith(prefix) else None
    if match is None:
        return None
    return int(match[1]), {"b": "buy", "s": "sell"}[match[2]], int(match[3])
