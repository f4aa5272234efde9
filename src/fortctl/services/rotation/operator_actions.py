"""What a person must do at Binance in the middle of a rotation, as data and in words. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from typing import Any

from fortctl.keys.policy import REQUIRED, permission_label
from fortctl.model import Role
from fortctl.services.rotation.plan import Operation, RotationMode

Action = dict[str, Any]
PAGE = "Binance's API management page"


def to_create(operation: Operation, roles: Collection[Role]) -> list[Action]:
    """Return what is to be done before the new keys can be entered."""
    actions = []
    for role in roles:
        old = _old(operation, role)
        actions.append(_create(operation, role, old))
        if operation.mode is RotationMode.DRAIN and old:
            # The robot stands still: nothing needs the old key any more.
            actions.append(_delete(operation, role, old))
    roles_given = "|".join(role.value for role in roles)
    command = f"fortctl --account {operation.account} keys rotate --finish --input -"
    shape = '{"name": …, "api_key": …, "secret_key": …}'
    # None is kept before all of them are there.
    together = operation.scope.roles if operation.step == "create" else roles
    if len(operation.scope.roles) > 1:
        shape = "{" + ", ".join(f'"{role.value}": {shape}' for role in together) + "}"
    actions.append(
        {
            "what": "enter_key",
            "account": operation.account,
            "role": roles_given,
            "command": command,
            "text": f"hand the new key over: {command}, with {shape} on its standard input",
        }
    )
    return actions


def to_delete(operation: Operation, roles: Collection[Role]) -> list[Action]:
    """Return which old keys are still to be deleted at the exchange."""
    return [_delete(operation, role, _old(operation, role)) for role in roles]


def unused_keys(operation: Operation, placed: Collection[Role] = ()) -> list[Action]:
    """Return which new keys of a person's are not in use: they are to be deleted at the exchange.

    Args:
        placed: the roles whose new key is in place.
    """
    facts, found = operation.facts, []
    for role in operation.scope.roles:
        made = facts.get("made", {}).get(role.value)
        own = facts.get("issue", {}).get(role.value, {}).get("names", ())
        cards = {card["fingerprint"]: card for card in facts.get("refused", {}).get(role.value, ())}
        if made is not None:
            cards.pop(made["fingerprint"], None)
            cards |= {made["fingerprint"]: made} if role not in placed else {}
        found += [_delete(operation, role, card, "new") for card in cards.values() if card["name"] not in own]
    return found


def waited_for(operation: Operation) -> list[Action]:
    """Return what an open rotation waits for a person to do; empty where it waits for none."""
    if operation.facts.get("issuer") != "person":
        return []
    if operation.step == "create":
        return to_create(operation, operation.scope.roles)
    if operation.step in ("store", "deliver"):
        wanted = operation.facts.get("wants", ())
        return to_create(operation, [role for role in operation.scope.roles if role.value in wanted]) if wanted else []
    if operation.step in ("delete", "prove"):
        dead = operation.facts.get("dead", {})
        return to_delete(operation, [role for role in operation.scope.roles if role.value not in dead])
    return []


def to_delete_named(operation: Operation, name: str) -> Action:
    """Return that a key which the issuer made under a name of this rotation is to be deleted, if it is there."""
    return {
        "what": "delete_key_at_exchange",
        "account": operation.account,
        "role": name.split("-")[1],
        "name": name,
        "tail": "",
        "fingerprint": "",
        "text": f"delete the key '{name}' of the sub-account on {PAGE}, if it is there",
    }


def _old(operation: Operation, role: Role) -> Mapping[str, str]:
    found: Mapping[str, str] = operation.facts.get("old", {}).get(role.value, {})
    return found


def _create(operation: Operation, role: Role, old: Mapping[str, str]) -> Action:
    tick = [permission_label(right) for right in REQUIRED[role]]
    where, addresses = _where(role, operation.facts.get("from", {}).get(role.value))
    as_before = f", the addresses of '{old['name']}'" if old.get("name") else ""
    return {
        "what": "create_key_at_exchange",
        "account": operation.account,
        "role": role.value,
        "permissions": list(REQUIRED[role]),
        "tick": tick,
        "addresses": addresses,
        "ip": f"restrict to trusted IPs: {where}{as_before}",
        "text": f"on {PAGE} create a new {role} key (self-generated Ed25519, or HMAC): tick {', '.join(tick)} and"
        f" nothing else, and restrict it to trusted IPs: {where}{as_before}",
    }


def _where(role: Role, address: str | None) -> tuple[str, list[str]]:
    """Return from where a role's key is used, in words, and the addresses of it that the exchange can see."""
    where = "the robot's host" if role is Role.ROBOT else "the host that reads the account"
    if address is None:
        return where, []
    seen = ip_address(address)
    if seen.is_global or seen.is_loopback:
        return f"{where} ({address})", [address]
    return f"{where} ({address} in its own network: list the address that this network shows to the internet)", []


def _delete(operation: Operation, role: Role, old: Mapping[str, str], which: str = "old") -> Action:
    tail = f" (…{old['tail']})" if old.get("tail") else ""
    return {
        "what": "delete_key_at_exchange",
        "account": operation.account,
        "role": role.value,
        "name": old.get("name", ""),
        "tail": old.get("tail", ""),
        "fingerprint": old.get("fingerprint", ""),
        "text": f"delete the {which} {role} key '{old.get('name', '')}'{tail} on {PAGE}",
    }
