"""Compare what a key may do with what a person accepted, so that a key that turns dangerous is noticed. Pure.

A key can be edited on Binance's page at any time, by its owner or by a thief of the account. Nothing announces it: the
key's own ``GET /sapi/v1/account/apiRestrictions`` shows it (decision 0027).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fortctl.model import Drift, DriftKind, KeyCard, KeyRights
from fortctl.timestamps import rfc3339

# Rights by which a thief of the key moves funds out of the account (Binance, apiRestrictions).
MOVES_FUNDS = ("withdrawals", "internal_transfer", "universal_transfer")


def compare_rights(accepted: KeyRights, observed: KeyRights) -> tuple[Drift, ...]:
    """Return how observed rights differ from the accepted ones; empty where they do not."""
    drifts = [
        Drift(DriftKind.RIGHT_ADDED, _added(name), name)
        for name in observed.permissions
        if name not in accepted.permissions
    ]
    drifts += [
        Drift(DriftKind.RIGHT_REMOVED, f"the key lost the permission {name}", name)
        for name in accepted.permissions
        if name not in observed.permissions
    ]
    if accepted.ip_restricted and not observed.ip_restricted:
        drifts.append(Drift(DriftKind.IP_LIST_LIFTED, "the key's IP list was lifted: it works from any address"))
    if observed.ip_restricted and not accepted.ip_restricted:
        drifts.append(Drift(DriftKind.IP_LIST_SET, "the key got an IP list"))
    if observed.expires_at != accepted.expires_at:
        words = f"from {_time(accepted.expires_at)} to {_time(observed.expires_at)}"
        drifts.append(Drift(DriftKind.EXPIRY_CHANGED, f"the end of the key's trading permission moved {words}"))
    return tuple(drifts)


def near_expiry(observed: KeyRights, now: int, warning_ms: int) -> tuple[Drift, ...]:
    """Return the drift of a trading permission that has ended, or ends within ``warning_ms``; else nothing.

    No person can accept it: it ends when the permission is renewed or the key replaced.
    """
    expires = observed.expires_at
    if expires is None or expires - now > warning_ms:
        return ()
    verb = "ended" if expires <= now else "ends"
    return (Drift(DriftKind.EXPIRY_NEAR, f"the key's trading permission {verb} on {rfc3339(expires)}"),)


def moving_funds(drifts: Iterable[Drift], allow: Collection[str]) -> tuple[Drift, ...]:
    """Return the drifts by which the key can now move funds out of the account.

    Args:
        drifts: how its rights differ from the accepted ones.
        allow: permissions that a person accepted although the role forbids them (``--allow``).
    """
    return tuple(
        drift
        for drift in drifts
        if drift.kind is DriftKind.RIGHT_ADDED and drift.permission in MOVES_FUNDS and drift.permission not in allow
    )


def acceptable(drifts: Iterable[Drift]) -> tuple[Drift, ...]:
    """Return the drifts that a person can accept."""
    return tuple(drift for drift in drifts if drift.kind is not DriftKind.EXPIRY_NEAR)


def first_accepted(observed: KeyRights, allow: Collection[str]) -> KeyRights:
    """Return what counts as accepted of a key whose rights nobody could read when a person entered it.

    A person accepted the key as it was (``--allow unknown_rights``), but no right to move funds that they did not name.
    """
    kept = tuple(name for name in observed.permissions if name not in MOVES_FUNDS or name in allow)
    return observed._replace(permissions=kept)


def rights_of_card(card: KeyCard) -> KeyRights | None:
    """Return the rights that a key's card shows; None where the exchange never said what the key may do."""
    if card.ip_restricted is None:
        return None
    return KeyRights(card.permissions, card.ip_restricted, card.expires_at)


def _added(name: str) -> str:
    moves = ": a thief of the key can move funds out of the account" if name in MOVES_FUNDS else ""
    return f"the key got the permission {name}{moves}"


def _time(at: int | None) -> str:
    return "no end" if at is None else rfc3339(at) or ""
