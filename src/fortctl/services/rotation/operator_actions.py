"""What a person must do at Binance in the middle of a rotation, as data and as text. Pure."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address

from fortctl.keys.policy import REQUIRED, permission_label
from fortctl.model import Role
from fortctl.services.rotation.facts import KeyReference, KeyRequirements, OperatorAction, OperatorActionKind
from fortctl.services.rotation.plan import Operation, RotationMode

PAGE = "Binance's API management page"


def create_actions(operation: Operation, roles: Collection[Role]) -> list[OperatorAction]:
    """Return what is to be done before the new keys can be entered."""
    actions = []
    for role in roles:
        old = operation.facts.old.get(role)
        actions.append(_create(operation, role, old))
        if operation.mode is RotationMode.DRAIN and old is not None:
            # The robot stands still, so nothing needs the old key any more.
            actions.append(_delete(operation, role, old, "old"))
    roles_given = "|".join(role.value for role in roles)
    command = f"fortctl --account {operation.account} keys rotate --finish --input -"
    shape = '{"name": …, "api_key": …, "secret_key": …}'
    # None is kept before all of them are there.
    together = operation.scope.roles if operation.step == "create" else roles
    if len(operation.scope.roles) > 1:
        shape = "{" + ", ".join(f'"{role.value}": {shape}' for role in together) + "}"
    actions.append(
        OperatorAction(
            OperatorActionKind.ENTER_KEY,
            operation.account,
            roles_given,
            f"enter the new key: {command}, with {shape} on its standard input",
            command=command,
        )
    )
    return actions


def delete_old_actions(operation: Operation, roles: Collection[Role]) -> list[OperatorAction]:
    """Return that the old keys of some roles must still be deleted at the exchange."""
    return [_delete(operation, role, operation.facts.old.get(role, KeyReference()), "old") for role in roles]


def delete_new_action(operation: Operation, role: Role, key: KeyReference) -> OperatorAction:
    """Return that a new key which is not in use must be deleted at the exchange."""
    return _delete(operation, role, key, "new")


def unused_keys(operation: Operation, placed: Collection[Role] = ()) -> dict[Role, list[KeyReference]]:
    """Return the new keys that a person made and that are not in use, by role.

    Args:
        placed: the roles whose new key is in place.
    """
    facts = operation.facts
    unused = {}
    for role in operation.scope.roles:
        keys = {key.fingerprint: key for key in facts.refused.get(role, ())}
        made = (facts.made or {}).get(role)
        if made is not None:
            keys.pop(made.fingerprint, None)
            keys |= {made.fingerprint: made} if role not in placed else {}
        unused[role] = [key for key in keys.values() if key.name not in facts.issued_names(role)]
    return unused


def pending_actions(operation: Operation) -> list[OperatorAction]:
    """Return what an open rotation waits for a person to do; empty if it waits for nobody."""
    facts, roles = operation.facts, operation.scope.roles
    if facts.issuer != "person":
        return []
    if operation.step == "create":
        return create_actions(operation, roles)
    if operation.step in ("store", "deliver"):
        missing = [role for role in roles if role in (facts.missing or ())]
        return create_actions(operation, missing) if missing else []
    if operation.step in ("delete", "prove"):
        return delete_old_actions(operation, [role for role in roles if role not in facts.deleted])
    return []


def delete_named_action(operation: Operation, role: Role, name: str) -> OperatorAction:
    """Return that a key which the issuer may have made under a name of this rotation must be deleted."""
    text = f"delete the key '{name}' of the sub-account on {PAGE}, if it is there"
    return OperatorAction(OperatorActionKind.DELETE_KEY, operation.account, role.value, text, key=KeyReference(name))


def _create(operation: Operation, role: Role, old: KeyReference | None) -> OperatorAction:
    tick = tuple(permission_label(right) for right in REQUIRED[role])
    where, addresses = _where(role, operation.facts.reached_from.get(role))
    as_before = f", the addresses of '{old.name}'" if old is not None and old.name else ""
    ip = f"trusted IPs: {where}{as_before}"
    return OperatorAction(
        OperatorActionKind.CREATE_KEY,
        operation.account,
        role.value,
        f"on {PAGE} create a new {role} key (self-generated Ed25519, or HMAC): tick {', '.join(tick)} and nothing"
        f" else, and restrict it to {ip}",
        requirements=KeyRequirements(REQUIRED[role], tick, addresses, f"restrict to {ip}"),
    )


def _where(role: Role, address: str | None) -> tuple[str, tuple[str, ...]]:
    """Return, as text, from where a role's key is used, and the addresses of it that the exchange can see."""
    where = "the robot's host" if role is Role.ROBOT else "the host that reads the account"
    if address is None:
        return where, ()
    parsed = ip_address(address)
    if parsed.is_global or parsed.is_loopback:
        return f"{where} ({address})", (address,)
    return f"{where} ({address} in its own network: list the address that this network shows to the internet)", ()


def _delete(operation: Operation, role: Role, key: KeyReference, which: str) -> OperatorAction:
    tail = f" (…{key.tail})" if key.tail else ""
    text = f"delete the {which} {role} key '{key.name}'{tail} on {PAGE}"
    return OperatorAction(OperatorActionKind.DELETE_KEY, operation.account, role.value, text, key=key)
