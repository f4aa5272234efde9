"""Run an operator's hooks of a rotation: ``pre-rotate`` before its first step, ``post-rotate`` after its end.

The process that closes a rotation in the store runs ``post-rotate``, and the store lets only one process close it: one
``post-rotate`` follows each ``pre-rotate``. That ``pre-rotate`` is run is journaled first: a command that is killed in
that instant omits the hook, and no hook runs twice.
"""

from __future__ import annotations

from typing import Any

from fortctl.ports import HooksPort
from fortctl.services.hooks import warnings_of
from fortctl.services.rotation.plan import ROTATIONS, Operation

POST_ROTATE = "post-rotate"


def must_announce(operation: Operation) -> bool:
    """Return whether ``pre-rotate`` is still to be run; it never is for the first keys that an issuer makes."""
    return operation.mode in ROTATIONS and not operation.facts.announced


def fire_pre_rotate(hooks: HooksPort, operation: Operation) -> tuple[tuple[str, str], ...]:
    """Run ``pre-rotate``; return the warnings of what failed."""
    return warnings_of(hooks.fire("pre-rotate", _facts(operation)))


def fire_post_rotate(hooks: HooksPort, operation: Operation | None) -> tuple[tuple[str, str], ...]:
    """Run ``post-rotate`` for a rotation that was just closed (None: none was); return the warnings of what failed."""
    facts = post_rotate_facts(operation)
    return warnings_of(hooks.fire(POST_ROTATE, facts)) if facts is not None else ()


def post_rotate_facts(operation: Operation | None) -> dict[str, Any] | None:
    """Return the facts of ``post-rotate``, or None if ``pre-rotate`` was not run."""
    if operation is None or not operation.facts.announced:
        return None
    return _facts(operation)


def _facts(operation: Operation) -> dict[str, Any]:
    fields = operation.as_json()
    names = ("id", "mode", "role", "state", "step", "reason", "trading_gap_s")
    return {"operation": {name: fields[name] for name in names}}
