"""``fortctl keys``: take in, list, check, change and delete the two keys of an account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from fortctl.bootstrap.key_lock import key_write_lock, refuse_latched, require_no_rotation, run_end_hooks
from fortctl.cli.commands import group, refuse
from fortctl.cli.context import CommandContext
from fortctl.cli.options import Seconds
from fortctl.cli.render import duration, table
from fortctl.cli.result import Result
from fortctl.commands.rotate import rotate
from fortctl.errors import BadInputError, ConflictError, FortctlError, NotFoundError, VaultDamagedError
from fortctl.model import PERMISSIONS, KeyPair, KeyType, Role
from fortctl.secret import Secret

F = TypeVar("F", bound=Callable[..., Any])

keys = group("keys", "The two keys of an account: site (reads) and robot (reads and trades).")
ROLE = click.Choice([role.value for role in Role])


def _entering(function: F) -> F:
    """The options of the commands that take a key in."""
    for option in (
        click.option("--role", type=ROLE, required=True, help="Whose key it is."),
        click.option("--name", help="The key's name in the Binance account."),
        click.option("--type", "key_type", type=click.Choice([kind.value for kind in KeyType]), help="Kind of key."),
        click.option("--input", "source", metavar="FILE", help="One JSON object ('-': stdin); else hidden prompts."),
        click.option("--wait", type=Seconds(0, 3600), default=30.0, help="Seconds for the robot's answer."),
        click.option("--no-wait", is_flag=True, help="Do not wait for the robot's answer."),
        click.option(
            "--allow", multiple=True, type=click.Choice(PERMISSIONS), help="A right to accept although too much."
        ),
        click.option("--pending", is_flag=True, help="Only the API key of the pair that 'keys generate' made."),
        click.option("--key-passphrase-file", metavar="FILE", help="Opens an encrypted private key."),
        click.option("--no-site-copy", is_flag=True, help="Never keep a copy of the robot key for reading."),
    ):
        function = option(function)
    return function


@keys.command("add", help="Take in a new key: the site's is checked at once, the robot's sealed to the robot.")
@_entering
@click.option("--issue", is_flag=True, help="Have the issuer make it ('fortctl issuer set').")
@click.option("--ip", "addresses", metavar="ADDR,…", help="With --issue: the addresses that it is accepted from.")
async def add(app: CommandContext, issue: bool, addresses: str | None, **options: Any) -> Result:
    if issue:
        given = [name for name in ("source", "pending", "key_type", "name") if options[name]]
        if given:
            refuse("--issue makes the key itself: it goes with --role and --ip alone")
        return await _issue(app, Role(options["role"]), addresses)
    if addresses is not None:
        refuse("--ip goes with --issue: other keys get their addresses on Binance's page")
    return await _take(app, replacing=False, force=False, **options)


@keys.command("change", help="Put a new key in the old one's place, once it is accepted.")
@_entering
@click.option("--force-replace", is_flag=True, help="Destroy the old key first.")
async def change(app: CommandContext, force_replace: bool, **options: Any) -> Result:
    return await _take(app, replacing=True, force=force_replace, **options)


async def _issue(app: CommandContext, role: Role, addresses: str | None) -> Result:
    from fortctl.commands.rotate import issue_key, read_addresses
    from fortctl.services.keys.results import card_json

    listed = read_addresses(addresses or "")
    app.wiring.entry  # noqa: B018
    app.progress("having the issuer make the key")
    ended = await issue_key(app, role, listed)
    card = next(card for card in app.wiring.keys.listed() if card.role is role)
    shown = card_json(card, app.wiring.clock.now_ms())
    text = f"{role} key '{shown['name']}' (…{shown['tail']}) made by the issuer and taken in"
    return Result({"key": shown, **ended.as_json()}, ended.changed, ended.warnings, text)


async def _take(
    app: CommandContext,
    *,
    role: str,
    name: str | None,
    key_type: str | None,
    source: str | None,
    wait: float,
    no_wait: bool,
    allow: tuple[str, ...],
    pending: bool,
    key_passphrase_file: str | None,
    no_site_copy: bool,
    replacing: bool,
    force: bool,
) -> Result:
    from fortctl.services.keys.results import card_json

    wanted = Role(role)
    kind = KeyType(key_type) if key_type else None
    if pending:
        if kind is not None or key_passphrase_file is not None:
            raise BadInputError(
                "with --pending only the API key is entered: the private half is here already, of the type it has",
                hint="leave --type and --key-passphrase-file out",
            )
        api_key, shown = _api_key(app, wanted, name, source)
    else:
        pair = enter_key(app, f"{role} key", name, kind, source, key_passphrase_file)
    app.wiring.entry  # noqa: B018 (the account is checked before the vault is unlocked)
    require_no_rotation(app, wanted)
    refuse_latched(app)
    service = app.wiring.keys
    with key_write_lock(app, wanted):
        if pending:
            pair = service.pending(wanted, api_key, shown)
        if wanted is Role.SITE:
            app.progress("asking the exchange about the key")
            taken = await service.take_site(pair, allow=allow, replacing=replacing, force=force)
        else:
            app.progress("sealing the key to the robot")
            taken = await service.take_robot(
                pair,
                allow=allow,
                replacing=replacing,
                force=force,
                wait_s=0 if no_wait else wait,
                site_copy=not no_site_copy,
            )
    card = card_json(taken.key, app.wiring.clock.now_ms())
    data: dict[str, Any] = {"key": card, "answer_ms": taken.answer_ms}
    if replacing:
        data["replaced"] = {"fingerprint": taken.replaced}
    who = "the exchange accepts it" if wanted is Role.SITE else "the robot has it and the exchange accepts it"
    if card["status"] == "queued":
        who = "on its way to the robot"
    done = "taken in" if taken.changed else "is the one that was there: unchanged"
    text = (
        f"{role} key '{card['name']}' (…{card['tail']}, {card['fingerprint']}) {done}:"
        f" {who} ({duration(taken.answer_ms)})"
    )
    return Result(data, taken.changed, taken.warnings, text)


def enter_key(
    app: CommandContext,
    default_name: str,
    name: str | None,
    key_type: KeyType | None,
    source: str | None,
    passphrase_file: str | None,
) -> KeyPair:
    """Read a key from ``--input`` or hidden prompts. Raises ``BadInputError``, ``ConfirmationNeededError``."""
    from fortctl.bootstrap.unlock import read_passphrase
    from fortctl.services.keys.input import EnteredKey, check_key, parse_input

    def passphrase() -> Secret:
        if passphrase_file is not None:
            return read_passphrase(app, passphrase_file)
        return app.read_hidden("passphrase of the private key")

    if source is not None:
        entered = parse_input(app.read_input(source))
    else:
        api_key = app.read_hidden("API key")
        if key_type in (KeyType.ED25519, KeyType.RSA):
            raise BadInputError("a private key is given in a file: --input FILE")
        entered = EnteredKey(api_key=api_key, secret_key=app.read_hidden("secret key"))
    return check_key(entered, name=name, key_type=key_type, default_name=default_name, passphrase=passphrase)


def _erase(app: CommandContext, role: Role) -> Result:
    from fortctl.bootstrap.rotation import abort_for_deleted_key

    wiring = app.wiring
    if role is Role.ROBOT and wiring.process.owner() is not None:
        raise ConflictError(
            "the robot is running and has its key in memory",
            hint="'fortctl panic-disconnect' takes it from there too; or end its process first",
        )
    app.confirm(f"Destroy the {role} key of account {wiring.account} without unlocking anything?")
    ended = abort_for_deleted_key(app, role)
    try:
        destroyed = wiring.destroy_keys(role)
    except OSError as error:
        raise _not_destroyed(error) from None
    finally:
        run_end_hooks(app, ended)
    facts = {"role": role.value, "keys": list(destroyed)}
    wiring.audit.append(
        "key destroyed without unlocking", account=wiring.account, result="done", best_effort=True, **facts
    )
    if not destroyed:
        raise NotFoundError(f"account {wiring.account} has no {role} key here", hint="see 'fortctl vault status'")
    from fortctl.vault.erasure import IN_BACKUPS

    deleted = {"role": role.value, "fingerprint": None}
    data: dict[str, Any] = {"deleted": deleted, "destroyed": list(destroyed)}
    lines = [f"{role} key destroyed; {IN_BACKUPS}"]
    if ended is not None:
        data |= {"operation": ended.as_json(), "actions": ended.facts["actions"]}
        lines += [f"the rotation {ended.id} was aborted: {ended.facts['left']}"]
        lines += [f"- {one['text']}" for one in ended.facts["actions"]]
    return Result(data, True, text="\n".join(lines))


def _not_destroyed(error: OSError) -> FortctlError:
    """Return what it means that an erasure key cannot be destroyed."""
    import errno

    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return VaultDamagedError(
            "the folder of the erasure keys, or one in it, is a link or no folder: nothing behind it was touched",
            hint="see what was put in its place, and put the folder itself there",
        )
    return ConflictError(
        f"an erasure key cannot be destroyed: {error.strerror}",
        hint="mend the disk, then try again: every other one was tried",
        details={"errno": error.errno},
    )


def _api_key(app: CommandContext, role: Role, name: str | None, source: str | None) -> tuple[Secret, str]:
    from fortctl.services.keys.input import EnteredKey, check_api_key, parse_input

    entered = parse_input(app.read_input(source)) if source else EnteredKey(api_key=app.read_hidden("API key"))
    return check_api_key(entered, name=name, default_name=f"{role.value} key")


@keys.command("generate", help="Make a key pair where it will live; only its public half is shown.")
@click.option("--role", type=ROLE, required=True, help="Whose key it is.")
@click.option(
    "--type",
    "key_type",
    type=click.Choice([KeyType.ED25519.value, KeyType.RSA.value]),
    default=KeyType.ED25519.value,
    show_default=True,
    help="Kind of key.",
)
def generate(app: CommandContext, role: str, key_type: str) -> Result:
    app.wiring.entry  # noqa: B018
    require_no_rotation(app, Role(role))
    refuse_latched(app)
    service = app.wiring.keys
    with key_write_lock(app, Role(role)):
        public, pending_id = service.generate(Role(role), KeyType(key_type))
    rights = "Enable Reading" if role == Role.SITE.value else "Enable Reading, Enable Spot & Margin Trading"
    lines = [
        "1. On Binance's API management page choose 'Self-generated' and paste this public key:",
        "",
        public.rstrip(),
        "",
        f"2. Tick: {rights}. Restrict it to trusted IPs.",
        f"3. fortctl keys add --role {role} --pending     (takes the API key that Binance shows then)",
    ]
    return Result({"public_key": public, "pending_id": pending_id}, True, text="\n".join(lines))


@keys.command("age", help="Exit 13 when a key is older than it may be; for cron.")
@click.option("--max-age", metavar="90d", help="Default: the setting keys.max_age.")
def age(app: CommandContext, max_age: str | None) -> Result:
    from fortctl.config.settings import KEYS_MAX_AGE
    from fortctl.services.keys.results import card_json, key_age_error

    now = app.wiring.clock.now_ms()
    given = None if max_age is None else _age_limit(max_age)
    app.wiring.entry  # noqa: B018
    cards = app.wiring.keys.listed()
    rows = [card_json(card, now) for card in cards]
    limit = app.wiring.preferences.get(KEYS_MAX_AGE) if given is None else given
    failure = key_age_error(cards, limit, now, {"keys": rows})
    if failure is not None:
        raise failure
    shown = [[row[name] for name in ("role", "name", "created_at", "age_days")] for row in rows]
    return Result({"keys": rows}, text=table(["role", "name", "created at", "age days"], shown))


def _age_limit(text: str) -> int:
    from fortctl.config.settings import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        refuse(f"--max-age is no age: {error}")


@keys.command("list", help="Both keys, a row each; never the key itself.")
def list_keys(app: CommandContext) -> Result:
    from fortctl.services.keys.results import card_json

    now = app.wiring.clock.now_ms()
    app.wiring.entry  # noqa: B018
    rows = [card_json(card, now) for card in app.wiring.keys.listed()]
    shown = ("role", "name", "type", "tail", "fingerprint", "status", "permissions", "held_by", "age_days")

    def text() -> str:
        if not rows:
            return f"account {app.wiring.account} has no keys yet"
        return table([name.replace("_", " ") for name in shown], [[row[name] for name in shown] for row in rows])

    return Result({"keys": rows}, text=text)


@keys.command("verify", help="Ask the exchange about the keys now.")
@click.option("--role", type=ROLE, help="Only this role's key.")
async def verify(app: CommandContext, role: str | None) -> Result:
    from fortctl.services.keys.results import no_key_after_panic, verification_error

    app.wiring.entry  # noqa: B018
    if app.wiring.latch.is_latched():
        # Answered before the vault is unlocked: a panic leaves no key to ask about.
        raise no_key_after_panic(app.wiring.account)
    results, warnings = await app.wiring.keys.verify([Role(role)] if role else list(Role))
    failure = verification_error(results, warnings)
    if failure is not None:
        raise failure
    text = "\n".join(
        f"{result['role']} key: accepted, permissions right"
        f" ({duration(result['latency_ms'])}, clock {result['clock_skew_ms']:+} ms)"
        for result in results
    )
    return Result({"results": results}, warnings=warnings, text=text)


@keys.command("delete", help="Destroy fortctl's copy of a key; the key at Binance stays until a person deletes it.")
@click.option("--role", type=ROLE, required=True)
@click.option("--wait", type=Seconds(0, 3600), default=30.0, help="Seconds for the robot's answer.")
@click.option("--without-unlocking", is_flag=True, help="Destroy its erasure key: the vault may be locked or damaged.")
def delete(app: CommandContext, role: str, wait: float, without_unlocking: bool) -> Result:
    from fortctl.vault.erasure import IN_BACKUPS

    app.wiring.entry  # noqa: B018
    if without_unlocking:
        return _erase(app, Role(role))
    require_no_rotation(app, Role(role))
    if role == Role.SITE.value:
        app.confirm(f"Delete the site key of account {app.wiring.account}?")
        service = app.wiring.keys
        with key_write_lock(app, Role.SITE):
            fingerprint = service.delete_site()
        return Result(
            {"deleted": {"role": role, "fingerprint": fingerprint}}, True, text=f"site key destroyed; {IN_BACKUPS}"
        )
    trading = app.wiring.watch.status()["state"] in ("running", "draining", "held", "reconciling")
    question = "The robot is trading: its orders stay at the exchange. " if trading else ""
    app.confirm(f"{question}Delete the robot key of account {app.wiring.account}?")
    service = app.wiring.keys
    with key_write_lock(app, Role.ROBOT):
        fingerprint, orders = service.delete_robot(wait_s=wait)
    data = {"deleted": {"role": role, "fingerprint": fingerprint}, "orders_left": orders}
    lines = [f"robot key destroyed; {len(orders)} orders stay at the exchange; {IN_BACKUPS}"]
    lines += [
        f"  {order['client_order_id']} {order['side']} {order['quantity']} at {order['price']}" for order in orders
    ]
    return Result(data, True, text="\n".join(lines))


keys.add_command(rotate)
