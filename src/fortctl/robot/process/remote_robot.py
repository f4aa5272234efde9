"""A robot that is not on this machine, or not at all; implements :class:`fortctl.ports.RobotProcess`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fortctl.errors import NotFoundError, RobotUnreachableError
from fortctl.secret import Secret
from fortctl.system.files import read_regular


class RemoteRobot:
    """A robot on another host: it is spoken to through the mailbox alone, and comes up by its own service manager."""

    def owner(self) -> None:
        return None

    def query(self, request: Mapping[str, Any], *, timeout_s: float = 5.0) -> dict[str, Any]:
        raise RobotUnreachableError("the robot is on another host", hint="look at it there: 'fortctl robot status'")

    def wake(self) -> bool:
        # It looks into the mailbox by itself.
        return False

    def ensure_running(self, passphrase: Secret | None, *, timeout_s: float = 20.0) -> None:
        """Nothing: a command waits in the mailbox until the robot looks."""

    def is_stopped(self, owner: Any) -> bool:
        return False

    def kill(self, owner: Any) -> bool:
        return False


class NoRobot(RemoteRobot):
    """An account that is only watched."""

    def __init__(self, account: str) -> None:
        self._account = account

    def ensure_running(self, passphrase: Secret | None, *, timeout_s: float = 20.0) -> None:
        raise NotFoundError(
            f"account {self._account} is only watched: it has no robot",
            hint=f"'fortctl accounts set {self._account} --robot local' gives it one",
        )


def read_card(body: bytes, signature: bytes, identity: Path | None) -> dict[str, Any] | None:
    """Return a robot's published card, or None where it is none, or not signed by the robot of an identity file.

    Args:
        identity: the file with the robot's public identity; None where nobody else can write the card.
    """
    try:
        card = json.loads(body)
        if identity is not None:
            from fortctl.mailbox.crypto import verify

            public = base64.b64decode(json.loads(read_regular(identity))["public"])
            if not verify(public, "card", body, signature):
                return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return card if isinstance(card, dict) else None
