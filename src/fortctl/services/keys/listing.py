"""List the keys of an account, from the site's vault and the robot's published card, as ``keys list`` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fortctl.keys.serialization import key_card_to_json
from fortctl.model import Role
from fortctl.model.keys import reads_only
from fortctl.timestamps import age_days, rfc3339

if TYPE_CHECKING:
    from fortctl.model import KeyCard
    from fortctl.services.site_vault import SiteVault


_TIMES = ("created_at", "verified_at", "expires_at", "rejected_since", "permissions_at")


def list_keys(site_vault: SiteVault, robot_key: KeyCard | None) -> tuple[KeyCard, ...]:
    """Return the site key's card, then the robot key's with who holds it; a missing key has none.

    Args:
        robot_key: the key as the robot published it.
    """
    cards = []
    site = site_vault.site_key()
    if site is not None:
        cards.append(site_vault.card(Role.SITE, site))
    copy = site_vault.robot_copy()
    if robot_key is not None:
        cards.append(replace(robot_key, held_by=("robot", "site")) if copy is not None else robot_key)
    elif copy is not None:
        cards.append(site_vault.card(Role.ROBOT, copy))
    return tuple(cards)


def card_json(card: KeyCard, now_ms: int) -> dict[str, Any]:
    """Return ``key{…}`` as JSON."""
    fields = key_card_to_json(card)
    times = {name: rfc3339(fields[name]) for name in _TIMES}
    return {**fields, **times, "age_days": age_days(card.created_at, now_ms)}


def card_warnings(card: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return ``(code, message)`` pairs about a stored key, from its card alone.

    A key that only reads is warned of when it is added; 'fortctl doctor' repeats it.

    Args:
        card: ``key{…}`` as ``--json`` shows it.
    """
    if card["ip_restricted"] is not False or reads_only(card["permissions"]):
        return ()
    # Loaded here: nearly every trading key has an IP list, and a listing loads few modules.
    from fortctl.keys.policy import unrestricted_warning

    return (unrestricted_warning(card["role"], card["permissions"]),)
