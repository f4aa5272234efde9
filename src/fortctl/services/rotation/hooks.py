"""Have an operator's hooks told of a rotation: ``pre-rotate`` before its first step, ``post-rotate`` after its end.

Whoever closes it in the store tells of its end, and the store lets only one close it: every ``pre-rotate`` is followed
by one ``post-rotate``. That it was told of is journaled before it is: a command that is killed in that instant leaves a
hook out, and none is ever run twice.
"""

from __future__ import annotations

from typing import Any

from fortctl.ports import HooksPort
from fortctl.services.hooks import warnings_of
from fortctl.services.rotation.plan import ROTATIONS, Operation

POST_ROTATE = "post-rotate"


def must_announce(operation: Operation) -> bool:
    """Return whether ``pre-rotate`` is still to be run; for the first keys that an issuer makes it never is."""
    return operation.mode in ROTATIONS and not operation.facts.announced


def fire_pre_rotate(hooks: HooksPort, operation: Operation) -> tuple[tuple[str, str], ...]:
    """Run ``pre-rotate``; return the warnings of what failed."""
    return warnings_of(hooks.fire("pre-rotate", _facts(operation)))


def fire_post_rotate(hooks: HooksPort, operation: Operation | None) -> tuple[tuple[str, str], ...]:
    """Run ``post-rotate`` for a rotation that was just closed (None: none was); return the warnings of what failed."""
    facts = post_rotate_facts(operation)
    return warnings_of(hooks.fire(POST_ROTATE, facts)) if facts is not None else ()


def post_rotate_facts(operation: Operation | None) -> dict[str, Any] | None:
    """Return what ``post-rotate`` tells, or None where nobody heard of the beginning."""
    if operation is None or not operation.facts.announced:
        return None
    return _facts(operation)


def _facts(operation: Operation) -> dict[str, Any]:
    shown = operation.as_json()
    told = ("id", "mode", "role", "state", "step", "reason", "trading_gap_s")
    return {"operation": {name: shown[name] for name in told}}
