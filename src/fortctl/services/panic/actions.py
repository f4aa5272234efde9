"""What a panic leaves for a person to do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fortctl.services.panic.known_key import ROLES, KnownKey


class ActionKind(StrEnum):
    """What is left to do: the ``what`` of ``actions[]`` in the JSON output."""

    ROBOT_UNREACHED = "robot_unreached"
    DELETE_KEY = "delete_key_at_exchange"
    CANCEL_ORDERS = "cancel_orders_at_exchange"
    FINISH_STEP = "finish_step"


@dataclass(frozen=True)
class Action:
    """One thing that a person must do.

    Attributes:
        text: the sentence that the person reads.
        step: the step that failed (finish_step).
        queued: whether the order to halt waits for the robot (robot_unreached).
        key: the key to delete, where its fingerprint or tail may be known (delete_key_at_exchange).
        role, name: the same of a key of which no more is known.
        queued_at: when the key to delete was sent to the robot (RFC 3339).
    """

    kind: ActionKind
    account: str
    text: str
    step: str | None = None
    queued: bool | None = None
    key: KnownKey | None = field(default=None, compare=False)
    role: str | None = None
    name: str | None = None
    queued_at: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return an entry of ``actions[]`` as JSON."""
        optional = {
            "step": self.step,
            "queued": self.queued,
            "role": self.role,
            "name": self.name,
            "queued_at": self.queued_at,
        }
        return {
            "what": self.kind.value,
            "account": self.account,
            **(self.key.as_json() if self.key is not None else {}),
            **{name: value for name, value in optional.items() if value is not None},
            "text": self.text,
        }


def delete_unnamed(account: str, roles: Sequence[str]) -> list[Action]:
    """Return what a person must do about the keys of *roles* that nothing names any more."""
    if not roles:
        return []
    which = "every key" if len(roles) == len(ROLES) else f"the {roles[0]} key"
    text = (
        f"nothing here says any more which keys account {account} had: delete on Binance's API management page {which}"
        " that you gave to fortctl"
    )
    return [Action(ActionKind.DELETE_KEY, account, text, role="|".join(roles))]
