"""What a listing says of a stored key, from its card alone."""

from __future__ import annotations

from fortctl.services.keys.listing import card_warnings


def test_a_stored_key_is_warned_of_where_it_may_do_more_than_read() -> None:
    card = {"role": "robot", "permissions": ["reading", "spot_trading"], "ip_restricted": False}
    assert [code for code, _text in card_warnings(card)] == ["IP_UNRESTRICTED"]
    for harmless in ({"ip_restricted": True}, {"ip_restricted": None}, {"role": "site", "permissions": ["reading"]}):
        assert card_warnings({**card, **harmless}) == ()
