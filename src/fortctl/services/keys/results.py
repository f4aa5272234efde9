"""Results of adding and verifying keys, with their errors and warnings. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fortctl.errors import FortctlError, KeyPolicyError, KeyRejectedError, KeyTooOldError, NotFoundError
from fortctl.keys.policy import LAPSED, LAPSED_REMEDY, describe_rejection, permission_hint, remedy_for
from fortctl.timestamps import age_days

if TYPE_CHECKING:
    from fortctl.keys.serialization import KeyCheck
    from fortctl.model import KeyCard, Role

Warnings = tuple[tuple[str, str], ...]

COPY_WARNING = (
    "READING_THROUGH_ROBOT_KEY",
    "there is no site key: the site reads through a copy of the robot key, which can trade; add a site key",
)


NO_COPY_WARNING = (
    "NO_SITE_KEY",
    "there is no site key, and the robot's private half is with the robot alone: add a site key to read the account",
)

NO_QUEUED_COPY_WARNING = (
    "NO_SITE_KEY",
    "there is no site key, and a key that is sent without waiting leaves no copy to read through: add a site key",
)


@dataclass(frozen=True)
class KeyAdded:
    """A key that was added or changed.

    Attributes:
        key: the key as it may be shown.
        replaced: the fingerprint of the key that it took the place of, or None.
        changed: whether it is another key than the one that was there.
        warnings: ``(code, message)`` pairs.
        answer_ms: milliseconds until the answer (the exchange's for the site key, the robot's for its own).
    """

    key: KeyCard
    replaced: str | None = None
    warnings: Warnings = ()
    answer_ms: float | None = None
    changed: bool = True


def same_key(role: Role) -> KeyPolicyError:
    """Return the error for a new key that is the old one."""
    return KeyPolicyError(
        f"this is the {role} key that is in use already: a rotation needs a new one",
        hint="create a second key on Binance's API management page",
        details={"role": role.value, "reason": "same_key"},
    )


def no_key_after_panic(account: str) -> NotFoundError:
    """Return the error for a question about keys that a panic has destroyed."""
    return NotFoundError(
        f"account {account} has no key: a panic destroyed its keys",
        hint="look at the account first, then 'fortctl panic-clear' and 'fortctl keys add'",
        details={"state": "latched"},
    )


@contextmanager
def note_destroyed_key(destroyed: str | None) -> Iterator[None]:
    """Have a refusal of the new key say that the old one (its fingerprint) was destroyed before it."""
    try:
        yield
    except FortctlError as error:
        if destroyed is not None:
            error.data = {**(error.data or {}), "replaced": {"fingerprint": destroyed}}
            error.warnings += (("OLD_KEY_DESTROYED", f"the old key ({destroyed}) was destroyed before: none is there"),)
        raise


def verification_error(results: Sequence[KeyCheck], warnings: Warnings) -> FortctlError | None:
    """Return the error with which ``keys verify`` ends, the gravest first, or None when every key is good."""
    data = {"results": [result.to_json() for result in results]}
    for result in results:
        if not result.accepted and result.reason != "other_account":
            evidence = {
                "role": result.role.value,
                "reason": result.reason,
                "certainty": result.certainty,
                "why": result.why,
                "seen_from": result.seen_from,
            }
            return KeyRejectedError(
                f"the exchange does not accept the {result.role} key: {describe_rejection(result.reason)}",
                hint=remedy_for(result.reason),
                details={name: value for name, value in evidence.items() if value},
                exchange=result.exchange,
                data=data,
                warnings=warnings,
            )
    for result in results:
        if result.reason == "other_account" or result.policy_ok is False:
            wrong = bool(result.missing or result.excess)
            hint = permission_hint(result.role, result.missing, result.excess) if wrong else None
            reason = "policy" if wrong else result.reason
            message = f"the {result.role} key works, but it is not what the role allows"
            if result.lapsed and not result.excess:
                reason, hint, message = "expired", LAPSED_REMEDY, f"the {result.role} key's {LAPSED}"
            return KeyPolicyError(
                message,
                hint=hint,
                details={
                    "role": result.role.value,
                    "reason": reason,
                    "missing": list(result.missing),
                    "excess": list(result.excess),
                },
                data=data,
                warnings=warnings,
            )
    return None


def key_age_error(cards: Sequence[KeyCard], limit_ms: int, now: int, data: Mapping[str, Any]) -> KeyTooOldError | None:
    """Return the error for keys older than ``limit_ms``, or None."""
    old = [card for card in cards if card.created_at is not None and now - card.created_at > limit_ms]
    if not old:
        return None
    named = ", ".join(f"the {card.role} key '{card.name}' ({age_days(card.created_at, now)} days)" for card in old)
    return KeyTooOldError(
        f"past its rotation age: {named}",
        hint="rotate it: 'fortctl keys rotate --role site|robot|both'",
        details={"roles": [card.role.value for card in old]},
        data=dict(data),
    )
