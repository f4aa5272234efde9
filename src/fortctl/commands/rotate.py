"""``fortctl keys rotate``: the whole sequence, guided, in two calls, or with no hands."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from fortctl.bootstrap.key_lock import refuse_latched, run_end_hooks
from fortctl.cli.commands import command, refuse
from fortctl.cli.context import CommandContext
from fortctl.cli.options import Seconds
from fortctl.cli.result import Result
from fortctl.errors import BadInputError, ConflictError, FortctlError
from fortctl.model import KeyPair, KeyType, Role
from fortctl.secret import Secret
from fortctl.services.rotation.plan import FINISHED, ROTATIONS, Operation, RotationMode, Scope

if TYPE_CHECKING:
    from fortctl.services.rotation.journal import RotationJournal
    from fortctl.services.rotation.service import RotationResult, RotationService

CHOICES = ("wait", "keep", "cancel", "abort")
GOING_ON = ("begin", "finish", "resume", "abort", "status")


@dataclass(frozen=True)
class Wanted:
    """The options of one call.

    Attributes:
        how: one of :data:`GOING_ON`, or empty: begin, or go on with what is open.
        addresses: the IP list that the issuer's new keys are born with; None: as the old ones.
    """

    scope: Scope | None
    mode: RotationMode | None
    how: str
    timeout: float
    on_timeout: str | None
    addresses: list[str] | None = None


@command("rotate", help="Rotate keys: finish the cycles, stop, new keys, deliver, start, prove the old ones dead.")
@click.option("--role", type=click.Choice([scope.value for scope in Scope]), help="Whose key.")
@click.option("--mode", type=click.Choice([mode.value for mode in ROTATIONS]), help="drain (default), overlap, urgent.")
@click.option("--input", "source", metavar="FILE", help="The new keys ('-': stdin); with both: {site: …, robot: …}.")
@click.option("--timeout", type=Seconds(0), default=600.0, show_default=True, help="Seconds to drain.")
@click.option("--on-timeout", type=click.Choice(CHOICES), help="What to do then (unattended: abort).")
@click.option("--begin", is_flag=True, help="Up to what a person must do at Binance; exit 12 says what.")
@click.option("--finish", is_flag=True, help="With the new keys: verify, deliver, start, prove the old ones dead.")
@click.option("--resume", is_flag=True, help="Go on with the rotation that is open.")
@click.option("--abort", is_flag=True, help="End it; say what that leaves.")
@click.option("--status", is_flag=True, help="Where it stands, and what it waits for.")
@click.option("--key-passphrase-file", metavar="FILE", help="Opens an encrypted private key.")
@click.option("--ip", "addresses", metavar="ADDR,…", help="With an issuer: the IP list of the new keys (as the old).")
async def rotate(
    app: CommandContext,
    role: str | None,
    mode: str | None,
    source: str | None,
    timeout: float,
    on_timeout: str | None,
    key_passphrase_file: str | None,
    addresses: str | None,
    **flags: bool,
) -> Result:
    chosen = [name for name in GOING_ON if flags[name]]
    if len(chosen) > 1:
        refuse(f"--{chosen[0]} and --{chosen[1]} exclude each other")
    how = chosen[0] if chosen else ""
    if source is not None and how in ("begin", "abort", "status"):
        refuse(f"--input does not go with --{how}")
    listed = read_addresses(addresses) if addresses is not None else None
    if listed is not None and how not in ("", "begin"):
        refuse(f"--ip does not go with --{how}: it says how a rotation begins")
    wanted = Wanted(
        Scope(role) if role else None, RotationMode(mode) if mode else None, how, timeout, on_timeout, listed
    )
    given = _given(app, source, key_passphrase_file)
    app.wiring.entry  # noqa: B018
    return await _Rotation(app, wanted, given).run()


def _given(app: CommandContext, source: str | None, passphrase_file: str | None) -> dict[Role | None, KeyPair]:
    """Read ``--input``: one key (under None), or both by role. Raises ``BadInputError``."""
    from fortctl.bootstrap.unlock import read_passphrase
    from fortctl.services.keys.input import check_key, parse_input_by_role

    if source is None:
        return {}

    def passphrase() -> Secret:
        if passphrase_file is not None:
            return read_passphrase(app, passphrase_file)
        return app.read_hidden("passphrase of the private key")

    return {
        role: check_key(
            entered,
            name=None,
            key_type=None,
            default_name=f"{role} key" if role is not None else "rotated key",
            passphrase=passphrase,
        )
        for role, entered in parse_input_by_role(app.read_input(source)).items()
    }


class _Rotation:
    """One call of the command."""

    def __init__(self, app: CommandContext, wanted: Wanted, given: dict[Role | None, KeyPair]) -> None:
        from fortctl.bootstrap.rotation import rotation_journal

        self._app = app
        self._wanted = wanted
        self._given = given
        self._journal: RotationJournal = rotation_journal(app, f"keys rotate ({wanted.how or 'run'})")

    async def run(self) -> Result:
        from fortctl.services.rotation.journal import no_operation

        wanted, journal = self._wanted, self._journal
        if wanted.how == "status":
            return self._status()
        journal.take()
        try:
            found = journal.expect(wanted.mode, wanted.scope)
            if wanted.how == "abort":
                if found is None:
                    raise no_operation(journal.account)
                return self._shown(await self._service().abort(found))
            self._refuse_latched(found)
            if found is None and wanted.how == "finish":
                return self._finished_already()
            if found is None and wanted.how == "resume":
                raise no_operation(journal.account)
            return self._shown(await self._go_on(found))
        finally:
            journal.release()

    async def _go_on(self, found: Operation | None) -> RotationResult:
        from fortctl.bootstrap.issuer import issuer_kind
        from fortctl.services.keys.issuer import PERSON

        wiring = self._app.wiring
        if found is None and self._wanted.scope is None:
            refuse("say whose key: --role site, robot or both")
        scope = found.scope if found is not None else self._wanted.scope
        assert scope is not None
        given = self._of(scope)
        service = self._service()
        addresses = self._wanted.addresses
        if found is None:
            kind = issuer_kind(wiring.home, wiring.account)
            if addresses is not None and kind == PERSON:
                refuse("--ip goes with an issuer: a person lists the addresses on Binance's page")
            asked = {"addresses": addresses} if addresses is not None else {}
            found = self._journal.begin(self._wanted.mode or RotationMode.DRAIN, scope, kind, **asked)
        elif addresses is not None and addresses != found.facts.get("addresses"):
            raise ConflictError(
                f"the rotation {found.id} is open, and was begun with other addresses",
                hint="'fortctl keys rotate --resume' goes on with it, '--abort' ends it",
                details={"operation": found.as_json()},
            )
        until = "create" if self._wanted.how == "begin" else None
        return await service.run(found, given, until=until)

    def _of(self, scope: Scope) -> dict[Role, KeyPair]:
        """Return the entered keys by role. Raises ``BadInputError`` when they are not those of the rotation."""
        if None in self._given:
            if scope is Scope.BOTH:
                raise BadInputError(
                    "both keys are rotated: the input has one", hint='give {"site": {…}, "robot": {…}} as --input'
                )
            return {scope.roles[0]: self._given[None]}
        found = {role: pair for role, pair in self._given.items() if role is not None}
        strange = [role for role in found if role not in scope.roles]
        if strange:
            raise BadInputError(f"the {strange[0]} key is not rotated", hint=f"the rotation is of: {scope}")
        return found

    def _service(self) -> RotationService:
        from fortctl.bootstrap.rotation import rotation_service

        guide = TerminalGuide(self._app, self._wanted.on_timeout)
        return rotation_service(self._app, self._journal, guide, self._wanted.timeout)

    def _refuse_latched(self, found: Operation | None) -> None:
        if self._app.wiring.latch.is_latched() and found is not None:
            # None begins under a latch: the panic could not end this one.
            ended = self._journal.put(found.aborted(self._app.wiring.clock.now_ms(), "panic"))
            run_end_hooks(self._app, ended)
        refuse_latched(self._app)

    def _finished_already(self) -> Result:
        """``--finish`` again with the same key changes nothing. Raises ``NotFoundError``."""
        from fortctl.services.rotation.journal import no_operation
        from fortctl.services.rotation.service import RotationResult

        last = self._journal.last()
        if last is None or last.state != FINISHED or not self._given:
            raise no_operation(self._journal.account)
        custody = self._app.wiring.custody
        shown = {role.value: custody.fingerprint(pair) for role, pair in self._of(last.scope).items()}
        if shown != last.facts.get("new"):
            raise no_operation(self._journal.account)
        return self._shown(RotationResult(last, changed=False))

    def _status(self) -> Result:
        from fortctl.services.rotation.journal import no_operation, status_of

        last = self._journal.current() or self._journal.last()
        if last is None:
            raise no_operation(self._journal.account)
        data = status_of(last, self._journal.owner(), self._app.wiring.clock.now_ms())
        todo = "\n".join(f"- {one['text']}" for one in data["actions"])
        return Result(data, text=lambda: "\n".join(filter(None, (_steps_text(last), todo))))

    def _shown(self, ended: RotationResult) -> Result:
        def text() -> str:
            lines = [_steps_text(ended.operation)]
            if ended.left:
                lines.append(f"left: {ended.left}")
            return "\n".join([*lines, *(f"- {one['text']}" for one in ended.actions)])

        return Result(ended.as_json(), ended.changed, ended.warnings, text)


def _steps_text(operation: Operation) -> str:
    shown = operation.as_json()
    lines = [f"rotation {operation.id} ({operation.mode}, {operation.scope}): {operation.step}"]
    lines += [f"  {one['name']:<8} {one['state']:<6} {one['at'] or ''}".rstrip() for one in shown["steps"]]
    if shown["trading_gap_s"] is not None:
        lines.append(f"trading gap: {float(shown['trading_gap_s']):.3f} s")
    return "\n".join(lines)


async def issue_key(app: CommandContext, role: Role, addresses: Sequence[str]) -> RotationResult:
    """Have the issuer make a role's first key (``keys add --issue``); going on with one that was begun.

    Raises:
        ConflictError: a person makes the keys, there is a key already, or another operation is open.
    """
    from fortctl.bootstrap.issuer import issuer_kind
    from fortctl.bootstrap.rotation import rotation_journal, rotation_service
    from fortctl.services.keys.issuer import PERSON

    wiring = app.wiring
    kind = issuer_kind(wiring.home, wiring.account)
    if kind == PERSON:
        raise ConflictError(
            f"the keys of account {wiring.account} are made by a person on Binance's page",
            hint="'fortctl issuer set sub-account' hands that to a master account's key",
            details={"issuer": kind},
        )
    journal = rotation_journal(app, "keys add --issue")
    journal.take()
    try:
        found = journal.expect(RotationMode.ISSUE, Scope(role.value))
        refuse_latched(app)
        service = rotation_service(app, journal, TerminalGuide(app, "abort"), 0.0)
        if found is None:
            wiring.keys.expect_none(role)
            found = journal.begin(RotationMode.ISSUE, Scope(role.value), kind, addresses=list(addresses))
        return await service.run(found, {})
    finally:
        journal.release()


def read_addresses(text: str) -> list[str]:
    """Return the addresses of ``--ip``. Raises ``BadInputError``."""
    import ipaddress

    try:
        return [str(ipaddress.ip_address(part.strip())) for part in text.split(",") if part.strip()]
    except ValueError:
        raise BadInputError("--ip is no list of addresses", hint="for example --ip 203.0.113.7,203.0.113.8") from None


class TerminalGuide:
    """The person at the terminal; implements :class:`fortctl.services.rotation.context.Guide`."""

    def __init__(self, app: CommandContext, on_timeout: str | None) -> None:
        self._app = app
        self._on_timeout = on_timeout

    def progress(self, line: str) -> None:
        self._app.progress(line)

    def keys(self, todo: list[dict[str, Any]], roles: Collection[Role]) -> dict[Role, KeyPair] | None:
        if not self._app.may_ask:
            return None
        self._tell(one for one in todo if one["what"] != "enter_key")
        found = {}
        for role in roles:
            found[role] = self._entered(role)
        return found

    def _entered(self, role: Role) -> KeyPair:
        """Ask for one key until it can be one: an HMAC pair, or the API key of the pair whose public half is shown."""
        keys = self._app.wiring.keys
        # Made where it will live, and durable before it is shown: whatever ends this command, the person's key is good.
        public = keys.waiting(role) or keys.generate(role, KeyType.ED25519)[0]
        where = "with the robot" if role is Role.ROBOT else "here"
        print(
            f"For a self-generated key paste this public key (its private half stays {where}):\n{public}",
            file=sys.stderr,
            flush=True,
        )
        while True:
            try:
                return self._typed(role)
            except BadInputError as error:
                self.refused(error)

    def _typed(self, role: Role) -> KeyPair:
        from fortctl.services.keys.input import EnteredKey, check_api_key, check_key

        name = self._app.read_answer(f"Name of the new {role} key in the Binance account: ") or f"{role} key"
        api_key = self._app.read_hidden("API key")
        secret_key = self._app.read_hidden("Enter alone for the public key above, or an HMAC secret key")
        if not secret_key.reveal().strip():
            checked, key_name = check_api_key(EnteredKey(api_key=api_key), name=name, default_name=name)
            return self._app.wiring.keys.pending(role, checked, key_name)
        entered = EnteredKey(api_key=api_key, secret_key=secret_key)
        return check_key(entered, name=name, key_type=None, default_name=name)

    def refused(self, error: FortctlError) -> bool:
        if not self._app.may_ask:
            return False
        print(f"refused: {error.message}\nhint: {error.hint}", file=sys.stderr, flush=True)
        return True

    def on_timeout(self, cycles_open: int) -> str:
        if self._on_timeout is not None:
            return self._on_timeout
        if not self._app.may_ask:
            return "abort"
        answer = self._app.read_answer(
            f"Still draining: {cycles_open} cycles open. wait, keep their orders, cancel them, or abort? [wait] "
        )
        return answer if answer in CHOICES else "wait"

    def deleted(self, todo: list[dict[str, Any]]) -> bool:
        if not self._app.may_ask:
            return False
        self._tell(todo)
        return self._app.read_answer("Press Enter when that is done ('later' ends here): ").lower() != "later"

    def _tell(self, todo: Any) -> None:
        for number, one in enumerate(todo, 1):
            print(f"{number}. {one['text']}", file=sys.stderr, flush=True)
