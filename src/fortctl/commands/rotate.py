"""``fortctl keys rotate``: the whole rotation, guided at a terminal, in two calls, or unattended with an issuer."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from fortctl.bootstrap.issuer import issuer_kind
from fortctl.bootstrap.key_lock import refuse_latched, run_end_hooks
from fortctl.bootstrap.rotation import rotation_journal, rotation_service
from fortctl.cli.commands import command
from fortctl.cli.context import CommandContext
from fortctl.cli.options import Seconds
from fortctl.cli.result import Result
from fortctl.commands.key_entry import private_key_passphrase
from fortctl.errors import BadInputError, ConflictError, FortctlError, UsageError
from fortctl.model import IP_UNRESTRICTED, PERMISSIONS, UNKNOWN_RIGHTS, KeyPair, KeyType, Role
from fortctl.services.rotation.plan import FINISHED, ROTATIONS, Operation, RotationMode, Scope
from fortctl.terminal.printable import printable

if TYPE_CHECKING:
    from fortctl.services.rotation.facts import OperatorAction
    from fortctl.services.rotation.service import RotationResult, RotationService

TIMEOUT_ACTIONS = ("wait", "keep", "cancel", "abort")
ACTIONS = ("begin", "finish", "resume", "abort", "status")


@dataclass(frozen=True)
class RotationOptions:
    """The options of one call.

    Attributes:
        scope: whose keys; None takes the open rotation's.
        mode: None takes the open rotation's, else ``drain``.
        action: one of :data:`ACTIONS`; empty runs the whole rotation, or continues the open one.
        timeout: seconds to drain.
        on_timeout: one of :data:`TIMEOUT_ACTIONS`; None asks, or aborts where no prompt is possible.
        addresses: the IP list of the issuer's new keys; None takes the old keys' list.
        allow: what the operator accepts for the new keys.
    """

    scope: Scope | None
    mode: RotationMode | None
    action: str
    timeout: float
    on_timeout: str | None
    addresses: list[str] | None = None
    allow: tuple[str, ...] = ()


@command("rotate", help="Replace keys: drain the robot, stop it, create and deliver new keys, start, delete the old.")
@click.option("--role", type=click.Choice([scope.value for scope in Scope]), help="Keys to rotate.")
@click.option("--mode", type=click.Choice([mode.value for mode in ROTATIONS]), help="How to rotate (default: drain).")
@click.option(
    "--input",
    "source",
    metavar="FILE",
    help="Read the new keys from FILE, a JSON object ('-': stdin); for both roles {site: …, robot: …}.",
)
@click.option("--timeout", type=Seconds(0), default=600.0, show_default=True, help="Seconds to wait for the drain.")
@click.option(
    "--on-timeout",
    type=click.Choice(TIMEOUT_ACTIONS),
    help="What to do when the drain times out (default: ask; unattended: abort).",
)
@click.option("--begin", is_flag=True, help="Run until a person must create keys at Binance; exit with 12.")
@click.option("--finish", is_flag=True, help="Continue with the new keys to the end.")
@click.option("--resume", is_flag=True, help="Continue the open rotation.")
@click.option("--abort", is_flag=True, help="End the open rotation, and print what it leaves.")
@click.option("--status", is_flag=True, help="Show the steps of the rotation and what it waits for.")
@click.option(
    "--key-passphrase-file", metavar="FILE", help="Read the passphrase of an encrypted private key from FILE."
)
@click.option(
    "--ip",
    "addresses",
    metavar="ADDR,…",
    help="IP addresses allowed to use the issuer's new keys (default: as before).",
)
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice((*PERMISSIONS, UNKNOWN_RIGHTS, IP_UNRESTRICTED)),
    help="Accept new keys with this permission (repeatable), as 'keys add' does; the rotation remembers it.",
)
async def rotate(
    context: CommandContext,
    role: str | None,
    mode: str | None,
    source: str | None,
    timeout: float,
    on_timeout: str | None,
    key_passphrase_file: str | None,
    addresses: str | None,
    allow: tuple[str, ...],
    **flags: bool,
) -> Result:
    chosen = [name for name in ACTIONS if flags[name]]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other")
    action = chosen[0] if chosen else ""
    if source is not None and action in ("begin", "abort", "status"):
        raise UsageError(f"--input cannot be combined with --{action}")
    if allow and action in ("abort", "status"):
        raise UsageError(f"--allow cannot be combined with --{action}")
    ip_list = parse_addresses(addresses) if addresses is not None else None
    if ip_list is not None and action not in ("", "begin"):
        raise UsageError(f"--ip cannot be combined with --{action}: give it when the rotation begins")
    options = RotationOptions(
        Scope(role) if role else None, RotationMode(mode) if mode else None, action, timeout, on_timeout, ip_list, allow
    )
    new_keys = _read_keys(context, source, key_passphrase_file)
    context.container.require_account()
    return await _Rotation(context, options, new_keys).run()


def _read_keys(context: CommandContext, source: str | None, passphrase_file: str | None) -> dict[Role | None, KeyPair]:
    """Read ``--input``: one key (stored under None), or keys by role. Raises ``BadInputError``."""
    from fortctl.services.keys.input import check_key, parse_input_by_role

    if source is None:
        return {}

    return {
        role: check_key(
            entered,
            name=None,
            key_type=None,
            default_name=f"{role} key" if role is not None else "rotated key",
            passphrase=lambda: private_key_passphrase(context, passphrase_file),
        )
        for role, entered in parse_input_by_role(context.prompts.read_input(source)).items()
    }


class _Rotation:
    """One call of the command."""

    def __init__(self, context: CommandContext, options: RotationOptions, new_keys: dict[Role | None, KeyPair]) -> None:
        self._context = context
        self._container = context.container
        self._options = options
        self._new_keys = new_keys
        self._journal = rotation_journal(self._container, f"keys rotate ({options.action or 'run'})")

    async def run(self) -> Result:
        from fortctl.services.rotation.journal import no_operation

        options, journal = self._options, self._journal
        if options.action == "status":
            return self._status()
        journal.acquire()
        try:
            operation = journal.require(options.mode, options.scope)
            if options.action == "abort":
                if operation is None:
                    raise no_operation(journal.account)
                return _result(await self._service().abort(operation))
            self._refuse_latched(operation)
            if operation is None and options.action == "finish":
                return self._finished_before()
            if operation is None and options.action == "resume":
                raise no_operation(journal.account)
            return _result(await self._begin_or_continue(operation))
        finally:
            journal.release()

    async def _begin_or_continue(self, operation: Operation | None) -> RotationResult:
        from fortctl.services.keys.issuer import PERSON

        options, container = self._options, self._container
        scope = operation.scope if operation is not None else options.scope
        if scope is None:
            raise UsageError("missing option '--role': site, robot or both")
        new_keys = self._keys_of(scope)
        service = self._service()
        addresses = options.addresses
        if operation is None:
            kind = issuer_kind(container.home, container.account)
            if addresses is not None and kind == PERSON:
                raise UsageError("--ip requires an issuer: a person sets the IP addresses on Binance's page")
            mode = options.mode or RotationMode.DRAIN
            operation = self._journal.begin(mode, scope, kind, addresses, options.allow)
        elif addresses is not None and tuple(addresses) != operation.facts.addresses:
            raise ConflictError(
                f"the rotation {operation.id} is open, and was begun with other addresses",
                hint="'fortctl keys rotate --resume' continues it, '--abort' ends it",
                details={"operation": operation.as_json()},
            )
        else:
            operation = self._journal.accept(operation, options.allow)
        until = "create" if options.action == "begin" else None
        return await service.run(operation, new_keys, until=until)

    def _keys_of(self, scope: Scope) -> dict[Role, KeyPair]:
        """Return the entered keys by role. Raises ``BadInputError``: they are not the keys that are rotated."""
        if None in self._new_keys:
            if scope is Scope.BOTH:
                raise BadInputError(
                    "both keys are rotated, but the input holds one", hint='give {"site": {…}, "robot": {…}} as --input'
                )
            return {scope.roles[0]: self._new_keys[None]}
        pairs = {role: pair for role, pair in self._new_keys.items() if role is not None}
        others = [role for role in pairs if role not in scope.roles]
        if others:
            raise BadInputError(f"the {others[0]} key is not rotated", hint=f"this rotation is of: {scope}")
        return pairs

    def _service(self) -> RotationService:
        guide = TerminalGuide(self._context, self._options.on_timeout)
        return rotation_service(self._container, self._journal, guide, self._options.timeout)

    def _refuse_latched(self, operation: Operation | None) -> None:
        if operation is not None and self._container.latch.is_latched():
            # A rotation cannot begin under a latch: this one was open, and the panic could not end it.
            ended = self._journal.put(operation.aborted(self._container.clock.now_ms(), "panic"))
            run_end_hooks(self._container, ended)
        refuse_latched(self._container)

    def _finished_before(self) -> Result:
        """Return the finished rotation if it delivered these very keys. Raises ``NotFoundError`` otherwise."""
        from fortctl.services.rotation.journal import no_operation
        from fortctl.services.rotation.service import RotationResult

        last = self._journal.last()
        if last is None or last.state != FINISHED or not self._new_keys:
            raise no_operation(self._journal.account)
        site_vault = self._container.site_vault
        fingerprints = {role: site_vault.fingerprint(pair) for role, pair in self._keys_of(last.scope).items()}
        if fingerprints != last.facts.new:
            raise no_operation(self._journal.account)
        return _result(RotationResult(last, changed=False))

    def _status(self) -> Result:
        from fortctl.services.rotation.journal import RotationStatus, no_operation

        last = self._journal.current() or self._journal.last()
        if last is None:
            raise no_operation(self._journal.account)
        status = RotationStatus.of(last, self._journal.owner(), self._container.clock.now_ms())
        actions = [f"- {action.text}" for action in status.actions]
        return Result(status.as_json(), text=lambda: "\n".join([_steps_text(last), *actions]))


def _result(rotation: RotationResult) -> Result:
    def text() -> str:
        lines = [_steps_text(rotation.operation)]
        if rotation.left:
            lines.append(f"left: {rotation.left}")
        return "\n".join([*lines, *(f"- {action.text}" for action in rotation.actions)])

    return Result(rotation.as_json(), rotation.changed, rotation.warnings, text)


def _steps_text(operation: Operation) -> str:
    document = operation.as_json()
    lines = [f"rotation {operation.id} ({operation.mode}, {operation.scope}): {operation.step}"]
    lines += [f"  {step['name']:<8} {step['state']:<6} {step['at'] or ''}".rstrip() for step in document["steps"]]
    if document["trading_gap_s"] is not None:
        lines.append(f"trading gap: {float(document['trading_gap_s']):.3f} s")
    return "\n".join(lines)


async def issue_key(
    context: CommandContext, role: Role, addresses: Sequence[str], allow: Collection[str] = ()
) -> RotationResult:
    """Have the issuer create a role's first key (``keys add --issue``), continuing an attempt that was interrupted.

    Raises:
        ConflictError: the account has no issuer, the role has a key, or another operation is open.
        KeyPolicyError: the robot's key would have no IP list, and the operator did not accept that.
    """
    from fortctl.services.keys.issuer import PERSON
    from fortctl.services.rotation.issue_key import require_ip_list

    container = context.container
    kind = issuer_kind(container.home, container.account)
    if kind == PERSON:
        raise ConflictError(
            f"a person creates the keys of account {container.account} on Binance's page",
            hint="'fortctl issuer set sub-account' hands that to a master account's key",
            details={"issuer": kind},
        )
    journal = rotation_journal(container, "keys add --issue")
    journal.acquire()
    try:
        operation = journal.require(RotationMode.ISSUE, Scope(role.value))
        refuse_latched(container)
        service = rotation_service(container, journal, TerminalGuide(context, "abort"), 0.0)
        if operation is None:
            container.key_service.require_no_key(role)
            require_ip_list(role, addresses, allow)
            operation = journal.begin(RotationMode.ISSUE, Scope(role.value), kind, addresses, allow)
        else:
            operation = journal.accept(operation, allow)
        return await service.run(operation, {})
    finally:
        journal.release()


def parse_addresses(text: str) -> list[str]:
    """Return the addresses of ``--ip``. Raises ``BadInputError``: one is none, or there are more than Binance takes."""
    import ipaddress

    from fortctl.keys.policy import MOST_ADDRESSES

    try:
        addresses = [str(ipaddress.ip_address(part.strip())) for part in text.split(",") if part.strip()]
    except ValueError:
        raise BadInputError(
            "--ip must be a list of IP addresses", hint="for example --ip 203.0.113.7,203.0.113.8"
        ) from None
    if len(addresses) > MOST_ADDRESSES:
        raise BadInputError(
            f"--ip has {len(addresses)} addresses: Binance accepts at most {MOST_ADDRESSES} for a key",
            hint="name only the hosts that use the key",
        )
    return addresses


class TerminalGuide:
    """Guides the person at the terminal; implements :class:`fortctl.services.rotation.context.Guide`."""

    def __init__(self, context: CommandContext, on_timeout: str | None) -> None:
        self._context = context
        self._prompts = context.prompts
        self._on_timeout = on_timeout

    def progress(self, line: str) -> None:
        self._context.progress(line)

    def keys(self, todo: Sequence[OperatorAction], roles: Collection[Role]) -> dict[Role, KeyPair] | None:
        if not self._prompts.available:
            return None
        _print_actions(action for action in todo if action.command is None)
        return {role: self._read_key(role) for role in roles}

    def _read_key(self, role: Role) -> KeyPair:
        """Prompt until a valid key is entered: an HMAC pair, or the API key of the public key that is printed."""
        keys = self._context.container.key_service
        # Stored before it is printed: the key that the person creates works even if this command is killed.
        public = keys.pending_public_key(role) or keys.generate(role, KeyType.ED25519)[0]
        where = "with the robot" if role is Role.ROBOT else "here"
        print(
            f"For a self-generated key paste this public key (its private half stays {where}):\n{public}",
            file=sys.stderr,
            flush=True,
        )
        while True:
            try:
                return self._prompt_key(role)
            except BadInputError as error:
                self.refused(error)

    def _prompt_key(self, role: Role) -> KeyPair:
        from fortctl.services.keys.input import EnteredKey, check_api_key, check_key

        name = self._prompts.read_line(f"Name of the new {role} key in the Binance account: ") or f"{role} key"
        api_key = self._prompts.read_hidden("API key")
        secret_key = self._prompts.read_hidden("Enter alone for the public key above, or an HMAC secret key")
        if not secret_key.reveal().strip():
            checked, key_name = check_api_key(EnteredKey(api_key=api_key), name=name, default_name=name)
            return self._context.container.key_service.complete_pending(role, checked, key_name)
        entered = EnteredKey(api_key=api_key, secret_key=secret_key)
        return check_key(entered, name=name, key_type=None, default_name=name)

    def refused(self, error: FortctlError) -> bool:
        if not self._prompts.available:
            return False
        print(printable(f"refused: {error.message}\nhint: {error.hint}"), file=sys.stderr, flush=True)
        return True

    def on_timeout(self, cycles_open: int) -> str:
        if self._on_timeout is not None:
            return self._on_timeout
        if not self._prompts.available:
            return "abort"
        answer = self._prompts.read_line(
            f"Still draining: {cycles_open} cycles open. wait, keep their orders, cancel them, or abort? [wait] "
        )
        return answer if answer in TIMEOUT_ACTIONS else "wait"

    def deleted(self, todo: Sequence[OperatorAction]) -> bool:
        if not self._prompts.available:
            return False
        _print_actions(todo)
        return self._prompts.read_line("Press Enter when that is done ('later' ends here): ").lower() != "later"


def _print_actions(actions: Iterable[OperatorAction]) -> None:
    for number, action in enumerate(actions, 1):
        print(printable(f"{number}. {action.text}"), file=sys.stderr, flush=True)
