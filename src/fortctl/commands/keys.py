"""``fortctl keys``: add, list, check, change and delete the two keys of an account."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fortctl.bootstrap.key_lock import key_write_lock, refuse_latched, require_no_rotation, run_end_hooks
from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.options import Seconds
from fortctl.cli.render import duration, table
from fortctl.cli.result import Result
from fortctl.errors import ConflictError, FortctlError, NotFoundError, UsageError, VaultDamagedError
from fortctl.model import IP_UNRESTRICTED, PERMISSIONS, UNKNOWN_RIGHTS, KeyType, Role

if TYPE_CHECKING:
    from fortctl.commands.key_entry import KeyInput

F = TypeVar("F", bound=Callable[..., Any])

keys = group("keys", "Manage the two keys of an account: site (reads) and robot (reads and trades).")
keys.add_lazy("rotate", "fortctl.commands.rotate", "rotate")
_IN_BACKUPS = "a backup made before still opens its copy"
ROLE = click.Choice([role.value for role in Role])
_ROLE_OPTION = click.option("--role", type=ROLE, required=True, help="Role of the key.")


def _key_options(function: F) -> F:
    """Add the options of :class:`fortctl.commands.key_entry.KeyInput`."""
    for option in (
        _ROLE_OPTION,
        click.option("--name", metavar="NAME", help="Name of the key in the Binance account."),
        click.option(
            "--type",
            "key_type",
            type=click.Choice([kind.value for kind in KeyType]),
            help="Type of the key (default: detected).",
        ),
        click.option(
            "--input", "source", metavar="FILE", help="Read the key from FILE, a JSON object ('-': stdin); else prompt."
        ),
        click.option(
            "--wait", type=Seconds(0, 3600), default=30.0, show_default=True, help="Seconds to wait for the robot."
        ),
        click.option("--no-wait", is_flag=True, help="Do not wait for the robot."),
        click.option(
            "--allow",
            multiple=True,
            type=click.Choice((*PERMISSIONS, UNKNOWN_RIGHTS, IP_UNRESTRICTED)),
            help="Accept this permission even though the role does not need it (repeatable); 'unknown_rights': accept"
            " a key whose permissions the exchange does not report; 'ip_unrestricted': accept a robot key that works"
            " from any IP address.",
        ),
        click.option("--pending", is_flag=True, help="Enter only the API key of the pair made by 'keys generate'."),
        click.option(
            "--key-passphrase-file", metavar="FILE", help="Read the passphrase of an encrypted private key from FILE."
        ),
        click.option("--no-site-copy", is_flag=True, help="Never keep a copy of the robot key for reading."),
    ):
        function = option(function)
    return function


@keys.command("add", help="Add a key. A site key is verified at once; a robot key is sealed to the robot.")
@_key_options
@click.option("--issue", is_flag=True, help="Have the issuer create the key (see 'fortctl issuer set').")
@click.option("--ip", "addresses", metavar="ADDR,…", help="IP addresses allowed to use the key (only with --issue).")
async def add(context: CommandContext, issue: bool, addresses: str | None, **options: Any) -> Result:
    from fortctl.commands.key_entry import KeyInput

    if issue:
        if any(options[name] for name in ("source", "pending", "key_type", "name")):
            raise UsageError("--issue can be combined only with --role, --ip and --allow")
        return await _issue(context, Role(options["role"]), addresses, options["allow"])
    if addresses is not None:
        raise UsageError("--ip requires --issue: set the IP addresses of other keys on Binance's page")
    return await _add_or_change(context, KeyInput.from_options(options), replacing=False)


@keys.command("change", help="Replace a key by a new one, once the exchange accepts it.")
@_key_options
@click.option("--force-replace", is_flag=True, help="Destroy the old key first.")
async def change(context: CommandContext, force_replace: bool, **options: Any) -> Result:
    from fortctl.commands.key_entry import KeyInput

    return await _add_or_change(context, KeyInput.from_options(options), replacing=True, force=force_replace)


async def _issue(context: CommandContext, role: Role, addresses: str | None, allow: tuple[str, ...]) -> Result:
    from fortctl.commands.rotate import issue_key, parse_addresses
    from fortctl.services.keys.listing import card_json

    ip_list = parse_addresses(addresses or "")
    context.container.require_account()
    context.progress("having the issuer create the key")
    issued = await issue_key(context, role, ip_list, allow)
    card = next(card for card in context.container.key_service.cards() if card.role is role)
    row = card_json(card, context.container.clock.now_ms())
    text = f"{role} key '{row['name']}' (…{row['tail']}) created by the issuer and added"
    return Result({"key": row, **issued.as_json()}, issued.changed, issued.warnings, text)


async def _add_or_change(context: CommandContext, key: KeyInput, *, replacing: bool, force: bool = False) -> Result:
    from fortctl.commands.key_entry import read_api_key, read_key
    from fortctl.services.keys.listing import card_json

    container, role, default_name = context.container, key.role, f"{key.role} key"
    if key.pending:
        api_key, name = read_api_key(context, key, default_name)
    else:
        pair = read_key(context, key, default_name)
    container.require_account()
    require_no_rotation(container, role)
    refuse_latched(container)
    service = container.key_service
    with key_write_lock(container, context.command, role):
        if key.pending:
            pair = service.complete_pending(role, api_key, name)
        if role is Role.SITE:
            context.progress("asking the exchange about the key")
            added = await service.add_site_key(pair, allow=key.allow, replacing=replacing, force=force)
        else:
            context.progress("sealing the key to the robot")
            added = await service.add_robot_key(
                pair,
                allow=key.allow,
                replacing=replacing,
                force=force,
                wait_s=key.wait_s,
                site_copy=key.site_copy,
            )
    card = card_json(added.key, container.clock.now_ms())
    data: dict[str, Any] = {"key": card, "answer_ms": added.answer_ms}
    if replacing:
        data["replaced"] = {"fingerprint": added.replaced}
    if card["status"] == "queued":
        state = "on its way to the robot"
    else:
        state = "the exchange accepts it" if role is Role.SITE else "the robot has it and the exchange accepts it"
    done = "added" if added.changed else "unchanged"
    text = (
        f"{role} key '{card['name']}' (…{card['tail']}, {card['fingerprint']}) {done}:"
        f" {state} ({duration(added.answer_ms)})"
    )
    return Result(data, added.changed, added.warnings, text)


@keys.command("generate", help="Generate a key pair where it will be used, and print its public key.")
@_ROLE_OPTION
@click.option(
    "--type",
    "key_type",
    type=click.Choice([KeyType.ED25519.value, KeyType.RSA.value]),
    default=KeyType.ED25519.value,
    show_default=True,
    help="Type of the key pair.",
)
def generate(context: CommandContext, role: str, key_type: str) -> Result:
    container = context.container
    container.require_account()
    require_no_rotation(container, Role(role))
    refuse_latched(container)
    service = container.key_service
    with key_write_lock(container, context.command, Role(role)):
        public, pending_id = service.generate(Role(role), KeyType(key_type))
    rights = "Enable Reading" if role == Role.SITE.value else "Enable Reading, Enable Spot & Margin Trading"
    lines = [
        "1. On Binance's API management page choose 'Self-generated' and paste this public key:",
        "",
        public.rstrip(),
        "",
        f"2. Tick: {rights}. Restrict it to trusted IPs.",
        f"3. Run 'fortctl keys add --role {role} --pending' and enter the API key that Binance shows.",
    ]
    return Result({"public_key": public, "pending_id": pending_id}, True, text="\n".join(lines))


@keys.command("age", help="Check the age of the keys; exit with 13 if one is too old (for cron).")
@click.option("--max-age", metavar="90d", help="Maximum age (default: the setting keys.max_age).")
def age(context: CommandContext, max_age: str | None) -> Result:
    from fortctl.config.settings import KEYS_MAX_AGE
    from fortctl.services.keys.listing import card_json
    from fortctl.services.keys.results import key_age_error

    container = context.container
    now = container.clock.now_ms()
    limit = None if max_age is None else _parse_age(max_age)
    container.require_account()
    cards = container.list_keys()
    rows = [card_json(card, now) for card in cards]
    limit = container.settings.get(KEYS_MAX_AGE) if limit is None else limit
    failure = key_age_error(cards, limit, now, {"keys": rows})
    if failure is not None:
        raise failure
    cells = [[row[name] for name in ("role", "name", "created_at", "age_days")] for row in rows]
    return Result({"keys": rows}, text=table(["role", "name", "created at", "age days"], cells))


def _parse_age(text: str) -> int:
    from fortctl.config.settings import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--max-age is not a duration: {error}") from None


@keys.command("list", help="List both keys. The keys themselves are never printed.")
def list_keys(context: CommandContext) -> Result:
    from fortctl.services.keys.listing import card_json, card_warnings

    container = context.container
    now = container.clock.now_ms()
    container.require_account()
    rows = [card_json(card, now) for card in container.list_keys()]
    columns = (
        *("role", "name", "type", "tail", "fingerprint", "status", "permissions", "permissions_at"),
        *("held_by", "age_days"),
    )

    def text() -> str:
        if not rows:
            return f"account {container.account} has no keys yet"
        listed = table([name.replace("_", " ") for name in columns], [[row[name] for name in columns] for row in rows])
        drifted = [f"{row['role']} key: {one['detail']}" for row in rows for one in row["drift"]]
        return "\n".join([listed, *drifted])

    warnings = tuple(warning for row in rows for warning in card_warnings(row))
    return Result({"keys": rows}, warnings=warnings, text=text)


@keys.command("verify", help="Ask the exchange whether the keys work and have the right permissions.")
@click.option("--role", type=ROLE, help="Verify only this role's key.")
async def verify(context: CommandContext, role: str | None) -> Result:
    from fortctl.services.keys.results import no_key_after_panic, verification_error

    container = context.container
    container.require_account()
    if container.latch.is_latched():
        # Answered before the vault is unlocked: a panic leaves no key to verify.
        raise no_key_after_panic(container.account)
    results, warnings = await container.key_service.verify([Role(role)] if role else list(Role))
    failure = verification_error(results, warnings)
    if failure is not None:
        raise failure
    text = "\n".join(
        f"{result.role} key: accepted, permissions right"
        f" ({duration(result.latency_ms)}, clock {result.clock_skew_ms:+} ms)"
        for result in results
    )
    return Result({"results": [result.to_json() for result in results]}, warnings=warnings, text=text)


@keys.command("delete", help="Destroy fortctl's copy of a key. Delete the key itself on Binance's page.")
@_ROLE_OPTION
@click.option("--wait", type=Seconds(0, 3600), default=30.0, show_default=True, help="Seconds to wait for the robot.")
@click.option(
    "--without-unlocking", is_flag=True, help="Destroy only its erasure key: works with a locked or damaged vault."
)
def delete(context: CommandContext, role: str, wait: float, without_unlocking: bool) -> Result:
    context.container.require_account()
    if without_unlocking:
        return _delete_without_unlocking(context, Role(role))
    require_no_rotation(context.container, Role(role))
    return _delete_site_key(context) if role == Role.SITE.value else _delete_robot_key(context, wait)


def _delete_site_key(context: CommandContext) -> Result:
    container = context.container
    context.prompts.confirm(f"Delete the site key of account {container.account}?")
    service = container.key_service
    with key_write_lock(container, context.command, Role.SITE):
        fingerprint = service.delete_site()
    deleted = {"role": Role.SITE.value, "fingerprint": fingerprint}
    return Result({"deleted": deleted}, True, text=f"site key destroyed; {_IN_BACKUPS}")


def _delete_robot_key(context: CommandContext, wait_s: float) -> Result:
    container = context.container
    trading = container.status_reader.status().state in ("running", "draining", "held", "reconciling")
    question = "The robot is trading: its orders stay at the exchange. " if trading else ""
    context.prompts.confirm(f"{question}Delete the robot key of account {container.account}?")
    service = container.key_service
    with key_write_lock(container, context.command, Role.ROBOT):
        fingerprint, orders = service.delete_robot(wait_s=wait_s)
    data = {
        "deleted": {"role": Role.ROBOT.value, "fingerprint": fingerprint},
        "orders_left": [order.to_json() for order in orders],
    }
    lines = [f"robot key destroyed; {len(orders)} orders stay at the exchange; {_IN_BACKUPS}"]
    lines += [f"  {order.client_order_id} {order.side} {order.quantity} at {order.price}" for order in orders]
    return Result(data, True, text="\n".join(lines))


def _delete_without_unlocking(context: CommandContext, role: Role) -> Result:
    from fortctl.bootstrap.rotation import abort_for_deleted_key

    container = context.container
    if role is Role.ROBOT and container.robot_process.owner() is not None:
        raise ConflictError(
            "the robot is running and has its key in memory",
            hint="'fortctl panic-disconnect' removes it from there too; or end the robot's process first",
        )
    context.prompts.confirm(f"Destroy the {role} key of account {container.account} without unlocking anything?")
    aborted = abort_for_deleted_key(container, role)
    try:
        destroyed = container.destroy_keys(role)
    except OSError as error:
        raise _not_destroyed(error) from None
    finally:
        run_end_hooks(container, aborted)
    container.audit.append(
        "key destroyed without unlocking",
        account=container.account,
        result="done",
        best_effort=True,
        role=role.value,
        keys=list(destroyed),
    )
    if not destroyed:
        raise NotFoundError(f"account {container.account} has no {role} key here", hint="see 'fortctl vault status'")
    data: dict[str, Any] = {"deleted": {"role": role.value, "fingerprint": None}, "destroyed": list(destroyed)}
    lines = [f"{role} key destroyed; {_IN_BACKUPS}"]
    if aborted is not None:
        data |= {"operation": aborted.as_json(), "actions": [action.to_json() for action in aborted.facts.actions]}
        lines += [f"the rotation {aborted.id} was aborted: {aborted.facts.left}"]
        lines += [f"- {action.text}" for action in aborted.facts.actions]
    return Result(data, True, text="\n".join(lines))


def _not_destroyed(error: OSError) -> FortctlError:
    """Return the error to report when an erasure key cannot be destroyed."""
    import errno

    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return VaultDamagedError(
            "the folder of the erasure keys, or one in it, is a link or not a folder: nothing behind it was touched",
            hint="check what replaced it, and put the folder itself back",
        )
    return ConflictError(
        f"an erasure key cannot be destroyed: {error.strerror}",
        hint="check the disk, then try again: every other erasure key was tried",
        details={"errno": error.errno},
    )
