"""What a person is told to do at Binance: which addresses belong on the new key's list."""

from __future__ import annotations

import json

import pytest

from fortctl.model import Role
from fortctl.services.rotation.facts import KeyReference, OperatorAction, OperatorActionKind, RotationFacts
from fortctl.services.rotation.operator_actions import create_actions
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
    create, enter = create_actions(operation, [Role.ROBOT])
    needs = create.requirements
    assert needs is not None and list(needs.addresses) == listed
    assert words in needs.ip and words in create.text
    assert enter.kind is OperatorActionKind.ENTER_KEY and enter.command is not None and enter.command in enter.text


def test_an_action_as_json_has_the_fields_of_the_contract_and_is_read_again() -> None:
    old = {Role.ROBOT: KeyReference("old", "abcd", "f")}
    facts = RotationFacts(old=old, reached_from={Role.ROBOT: "8.8.4.4"})
    operation = begin("one", "default", RotationMode.DRAIN, Scope.ROBOT, 0, facts)
    create, delete, enter = create_actions(operation, [Role.ROBOT])
    head = ["what", "account", "role"]
    assert list(create.to_json()) == [*head, "permissions", "tick", "addresses", "ip", "text"]
    assert list(delete.to_json()) == [*head, "name", "tail", "fingerprint", "text"]
    assert list(enter.to_json()) == [*head, "command", "text"]
    for action in (create, delete, enter):
        assert OperatorAction.from_json(json.loads(json.dumps(action.to_json()))) == action


def test_a_hosts_own_address_is_that_of_its_route() -> None:
    assert local_address("http://127.0.0.1:9") == "127.0.0.1"
    assert local_address("https://no-such-host.invalid") is None
