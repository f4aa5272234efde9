"""What a person is told to do at Binance: which addresses belong on the new key's list."""

from __future__ import annotations

import pytest

from fortctl.model import Role
from fortctl.services.rotation.facts import KeyReference, RotationFacts
from fortctl.services.rotation.operator_actions import to_create
from fortctl.services.rotation.plan import RotationMode, Scope, begin
from fortctl.system.network import local_address


@pytest.mark.parametrize(
    ("address", "listed", "words"),
    [
        ("8.8.4.4", ["8.8.4.4"], "the robot's host (8.8.4.4), the addresses of 'old'"),
        ("2606:4700::1111", ["2606:4700::1111"], "(2606:4700::1111)"),
        ("127.0.0.1", ["127.0.0.1"], "(127.0.0.1)"),
        (
            "192.168.1.7",
            [],
            "(192.168.1.7 in its own network: list the address that this network shows to the internet)",
        ),
        ("fe80::1%eth0", [], "in its own network"),
        (None, [], "the robot's host, the addresses of 'old'"),
    ],
)
def test_the_addresses_for_the_new_keys_list(address: str | None, listed: list[str], words: str) -> None:
    old = {Role.ROBOT: KeyReference("old", "abcd", "f")}
    operation = begin(
        "one",
        "default",
        RotationMode.OVERLAP,
        Scope.ROBOT,
        0,
        RotationFacts(old=old, reached_from={Role.ROBOT: address}),
    )
    create, enter = to_create(operation, [Role.ROBOT])
    assert create["addresses"] == listed
    assert words in create["ip"] and words in create["text"]
    assert enter["what"] == "enter_key"


def test_a_hosts_own_address_is_that_of_its_route() -> None:
    assert local_address("http://127.0.0.1:9") == "127.0.0.1"
    assert local_address("https://no-such-host.invalid") is None
