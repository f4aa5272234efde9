"""How two observations of one key's rights differ, and which differences let somebody move funds out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fortctl.keys.drift import acceptable, compare_rights, first_accepted, moving_funds, near_expiry, rights_of_card
from fortctl.model import PERMISSIONS, Drift, DriftKind, KeyCard, KeyRights, KeyType, Role

DAY_MS = 86_400_000
NOW = 1_700_000_000_000
TRADING = KeyRights(("reading", "spot_trading"), True)
RIGHTS = st.builds(
    KeyRights,
    st.lists(st.sampled_from(PERMISSIONS), unique=True).map(tuple),
    st.booleans(),
    st.none() | st.integers(NOW, NOW + 400 * DAY_MS),
)


@pytest.mark.parametrize(
    ("observed", "kinds"),
    [
        (TRADING, []),
        (KeyRights(("spot_trading", "reading"), True), []),
        (KeyRights(("reading", "spot_trading", "withdrawals"), True), [DriftKind.RIGHT_ADDED]),
        (KeyRights(("reading", "spot_trading", "enableMoonshots"), True), [DriftKind.RIGHT_ADDED]),
        (KeyRights(("reading",), True), [DriftKind.RIGHT_REMOVED]),
        (KeyRights(("reading", "spot_trading"), False), [DriftKind.IP_LIST_LIFTED]),
        (KeyRights(("reading", "spot_trading"), True, NOW), [DriftKind.EXPIRY_CHANGED]),
        (
            KeyRights(("margin",), False, NOW),
            ["right_added", *["right_removed"] * 2, "ip_list_lifted", "expiry_changed"],
        ),
    ],
)
def test_each_difference_is_named(observed: KeyRights, kinds: list[str]) -> None:
    assert [drift.kind for drift in compare_rights(TRADING, observed)] == kinds


def test_a_list_that_was_set_is_reported_the_other_way_round() -> None:
    (drift,) = compare_rights(KeyRights(("reading",), False), KeyRights(("reading",), True))
    assert drift.kind is DriftKind.IP_LIST_SET


@given(RIGHTS, RIGHTS)
def test_no_drift_means_the_same_rights(accepted: KeyRights, observed: KeyRights) -> None:
    same = (set(accepted.permissions), accepted.ip_restricted, accepted.expires_at) == (
        set(observed.permissions),
        observed.ip_restricted,
        observed.expires_at,
    )
    drift = compare_rights(accepted, observed)
    assert (drift == ()) is same
    assert all(Drift.from_json(one.to_json()) == one for one in drift)
    assert KeyRights.from_json(observed.to_json()) == observed
    assert compare_rights(observed, observed) == ()


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_only_rights_that_move_funds_out_are_dangerous(permission: str) -> None:
    drift = compare_rights(KeyRights((), True), KeyRights((permission,), True))
    dangerous = permission in ("withdrawals", "internal_transfer", "universal_transfer")
    assert moving_funds(drift, ()) == (drift if dangerous else ())
    assert moving_funds(drift, (permission,)) == (), "a person has allowed it"
    assert moving_funds(compare_rights(KeyRights((permission,), True), KeyRights((), True)), ()) == ()


@pytest.mark.parametrize(
    ("ends_in", "verb"), [(None, None), (15 * DAY_MS, None), (14 * DAY_MS, "ends"), (1, "ends"), (0, "ended")]
)
def test_an_end_is_near_from_the_warning_on_and_stays_so(ends_in: int | None, verb: str | None) -> None:
    rights = KeyRights(("reading",), True, None if ends_in is None else NOW + ends_in)
    found = near_expiry(rights, NOW, 14 * DAY_MS)
    assert [drift.kind for drift in found] == ([DriftKind.EXPIRY_NEAR] if verb else [])
    assert all(f"permission {verb} on 20" in drift.detail for drift in found)
    assert acceptable(found) == (), "no person can accept that a permission ends"


def test_of_a_key_with_unknown_rights_no_right_to_move_funds_counts_as_accepted() -> None:
    observed = KeyRights(("reading", "withdrawals", "internal_transfer"), True)
    assert first_accepted(observed, ("internal_transfer",)).permissions == ("reading", "internal_transfer")


def test_a_card_without_known_rights_has_none() -> None:
    card = KeyCard(Role.ROBOT, "a", KeyType.HMAC, "f" * 12, "tail", "ok", ("reading",))
    assert rights_of_card(card) is None
