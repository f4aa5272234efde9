"""What every command gets and gives: globals, results, questions, the one way of declaring a command."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from fortctl.commands.output import encode
from fortctl.config.home import check_account_name, default_home
from fortctl.errors import BadInput, ConfirmationNeeded, FortctlError, InternalError, UsageError
from fortctl.secret import Secret

if TYPE_CHECKING:
    from fortctl.commands.wiring import Wiring

INPUT_LIMIT = 256 * 1024
# The groups whose failures the audit log tells of, and what of them only reads.
_CHANGING = ("accounts", "issuer", "keys", "panic-clear", "panic-disconnect", "robot", "vault")
_READING = (
    *("accounts list", "issuer status", "keys age", "keys list", "robot cycles", "robot logs", "robot report"),
    *("robot run", "robot status", "vault status"),
)


class Seconds(click.FloatRange):
    """A number of seconds: one that can pass. ``nan`` is in every range, and no waiting for it ever ends."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"'{value}' is no number of seconds", param, ctx)
        return seconds


@dataclass(frozen=True)
class Globals:
    """The global options, wherever on the line they stood."""

    home: Path
    account: str = "default"
    json: bool = False
    yes: bool = False
    quiet: bool = False
    verbose: int = 0
    no_input: bool = False
    passphrase_file: str | None = None
    robot_passphrase_file: str | None = None


@dataclass(frozen=True)
class Result:
    """What a command found or did.

    Attributes:
        data: the JSON ``data`` object.
        changed: it changed something (False for a no-op and for reading).
        warnings: ``(code, message)`` pairs.
        text: the plain rendering; by default names and values, a line each.
    """

    data: Mapping[str, Any]
    changed: bool = False
    warnings: Sequence[tuple[str, str]] = ()
    text: str | Callable[[], str] | None = None


class OutputGone(Exception):
    """Whoever read stdout went away while a command was still streaming."""


@dataclass
class Draft:
    """What is known while the line is being parsed; the error boundary reads it too.

    Attributes:
        values: the global options given so far; counts add up, other later ones win.
        command: the command's path so far, without the program's name.
        interrupted: Ctrl-C was heard.
    """

    values: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    interrupted: bool = False

    def merge(self, given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            if value not in (None, False, 0):
                self.values[name] = self.values.get(name, 0) + value if name == "verbose" else value

    def globals(self) -> Globals:
        """Return the global options in force.

        Raises:
            UsageError: the account's name cannot be one, or the home has no place.
        """
        environment = os.environ
        account = self.values.get("account") or environment.get("FORTCTL_ACCOUNT") or "default"
        try:
            home = self.values.get("home") or environment.get("FORTCTL_HOME") or default_home(environment)
            place = Path(home).expanduser().absolute()
        except RuntimeError:
            # '~' of a user that is not there.
            raise UsageError("there is no such home folder", hint="give --home PATH, or set FORTCTL_HOME") from None
        return Globals(
            home=place,
            account=check_account_name(account),
            json=bool(self.values.get("json")) or environment.get("FORTCTL_JSON") == "1",
            yes=bool(self.values.get("yes")),
            quiet=bool(self.values.get("quiet")),
            verbose=int(self.values.get("verbose", 0)),
            no_input=bool(self.values.get("no_input")),
            passphrase_file=self.values.get("passphrase_file"),
            robot_passphrase_file=self.values.get("robot_passphrase_file"),
        )


class App:
    """A command's view of the world outside it."""

    def __init__(self, given: Globals, command: str = "") -> None:
        self.globals = given
        self.command = command
        self.warnings: list[tuple[str, str]] = []
        self._stdin_taken = False

    @cached_property
    def wiring(self) -> Wiring:
        """The adapters, wired late: a command that needs none imports none."""
        from fortctl.commands.wiring import Wiring

        return Wiring(self)

    def note_failure(self, error: FortctlError) -> None:
        """Enter a refusal or a failure into the audit log: of what changes something, and of every unlocking."""
        changes = self.command.split()[0] in _CHANGING and self.command not in _READING
        if error.code in ("USAGE", "ACTION_REQUIRED", "KEY_TOO_OLD"):
            return
        if not (changes or error.code in ("VAULT_LOCKED", "VAULT_DAMAGED")) or not self.wiring.home.audit.exists():
            return
        facts = {name: error.details[name] for name in ("role", "reason") if isinstance(error.details.get(name), str)}
        self.wiring.audit.append(
            f"{self.command} refused", account=self.globals.account, result=error.code, best_effort=True, **facts
        )

    # -- speaking --------------------------------------------------------------------------------------------------

    def progress(self, line: str) -> None:
        """One plain line a step, on stderr."""
        if not self.globals.quiet and not self.globals.json:
            print(line, file=sys.stderr, flush=True)

    def warn(self, code: str, message: str) -> None:
        """Have a warning printed with the result or the error."""
        self.warnings.append((code, message))

    def stream(self, document: Mapping[str, Any], text: str) -> None:
        """One document a line (JSON) or one plain line, at once: for commands that follow or serve."""
        try:
            print(encode(document) if self.globals.json else text, flush=True)
        except BrokenPipeError:
            raise OutputGone from None

    # -- asking ----------------------------------------------------------------------------------------------------

    @property
    def may_ask(self) -> bool:
        return not self.globals.no_input and sys.stdin is not None and sys.stdin.isatty() and not self._stdin_taken

    def confirm(self, question: str) -> None:
        """Ask a plain question; ``--yes`` answers it. Raises ``ConfirmationNeeded`` on no, or when it may not ask."""
        if self.globals.yes:
            return
        if not self.may_ask:
            raise ConfirmationNeeded(f"this needs an answer: {question}", hint="give --yes, or run it on a terminal")
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise ConfirmationNeeded("not confirmed: nothing was done", hint="answer y to go on")

    def read_answer(self, question: str) -> str:
        """Ask for a line that is no secret. Raises ``ConfirmationNeeded`` where nobody can be asked."""
        if not self.may_ask:
            raise ConfirmationNeeded(f"this needs an answer: {question}", hint="run it on a terminal")
        print(question, end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip()

    def confirm_typed(self, name: str, given: str | None, question: str) -> None:
        """Have a name typed; ``--confirm NAME`` answers, ``--yes`` does not."""
        if given is None and self.may_ask:
            print(f"{question} Type '{name}' to confirm: ", end="", file=sys.stderr, flush=True)
            given = sys.stdin.readline().strip()
        if given is None:
            raise ConfirmationNeeded(f"this needs a typed confirmation: {question}", hint=f"give --confirm {name}")
        if given != name:
            raise ConfirmationNeeded("the typed name does not match: nothing was done", hint=f"it must be '{name}'")

    def read_hidden(self, prompt: str) -> Secret:
        """Ask for a secret on the terminal, without echo. Raises ``ConfirmationNeeded`` where nobody can be asked."""
        if not self.may_ask:
            raise ConfirmationNeeded(f"nobody can be asked for: {prompt}", hint="give it in a file or on a terminal")
        import getpass

        try:
            return Secret(getpass.getpass(f"{prompt}: ", stream=sys.stderr))
        except EOFError:
            raise ConfirmationNeeded("the input ended", hint="give it in a file or on a terminal") from None

    def read_input(self, source: str) -> bytes:
        """Read ``--input`` or another file option, ``-`` being stdin; bounded.

        Raises:
            BadInput: it is too large, or cannot be read.
        """
        if source == "-":
            if self._stdin_taken:
                raise UsageError("standard input can be read only once")
            self._stdin_taken = True
            data = sys.stdin.buffer.read(INPUT_LIMIT + 1)
        else:
            try:
                with open(source, "rb") as stream:
                    data = stream.read(INPUT_LIMIT + 1)
            except OSError as error:
                raise BadInput(f"the input file cannot be read: {error.strerror}", hint="check the path") from None
        if len(data) > INPUT_LIMIT:
            raise BadInput(f"the input is larger than {INPUT_LIMIT // 1024} KiB")
        return data


# -- declaring commands ----------------------------------------------------------------------------------------------


def _global_options() -> list[click.Option]:
    def option(*names: str, **more: Any) -> click.Option:
        return click.Option(names, expose_value=False, **more)

    return [
        option("--home", metavar="PATH", help="The home folder ($FORTCTL_HOME)."),
        option("--account", metavar="NAME", help="The account ($FORTCTL_ACCOUNT; default: default)."),
        option("--json", is_flag=True, help="Print one JSON document ($FORTCTL_JSON=1)."),
        option("--yes", "-y", is_flag=True, help="Answer plain questions with yes."),
        option("--quiet", "-q", is_flag=True, help="No progress, no warnings."),
        option("--verbose", "-v", count=True, help="Tell more; -vv shows tracebacks."),
        option("--no-input", is_flag=True, help="Never ask."),
        option("--passphrase-file", metavar="FILE", help="Unlock the vault with the passphrase in FILE ('-': stdin)."),
        option("--robot-passphrase-file", metavar="FILE", help="The same for the local robot's vault."),
    ]


def _merging(option: click.Option) -> click.Option:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        context.ensure_object(Draft).merge({str(parameter.name): value})

    option.callback = callback
    return option


class _WithGlobals(click.Command):
    """Accepts the global options and ``-h``; parsing merges them into the draft."""

    def __init__(self, *args: Any, **more: Any) -> None:
        more.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **more)
        self.params = [*self.params, *(_merging(option) for option in _global_options())]

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if parent is not None:
            draft = parent.ensure_object(Draft)
            draft.command = f"{draft.command} {info_name}".strip()
        return super().make_context(info_name, args, parent, **extra)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        names = {option.name for option in _global_options()}
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None:
                (shared if parameter.name in names else own).append(record)
        for title, records in (("Options", own), ("Global options", shared)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(context, formatter)


class Command(_WithGlobals):
    """A core command: its callback takes the app and returns a :class:`Result` (or a coroutine of one)."""

    def invoke(self, context: click.Context) -> Any:
        draft = context.ensure_object(Draft)
        app = App(draft.globals(), draft.command)
        assert self.callback is not None
        try:
            result = self.callback(app, **context.params)
            if hasattr(result, "__await__"):
                import asyncio

                result = asyncio.run(result)
        except FortctlError as error:
            error.warnings = (*app.warnings, *error.warnings)
            app.note_failure(error)
            raise
        except (EOFError, BrokenPipeError) as error:
            # click would take a socket's end for the terminal's: for Ctrl-D, and for a reader that went away.
            raise InternalError(f"unexpected {type(error).__name__}") from error
        if isinstance(result, Result) and app.warnings:
            result = replace(result, warnings=(*app.warnings, *result.warnings))
        return result


class Group(_WithGlobals, click.Group):
    """A group of core commands."""

    def __init__(self, *args: Any, **more: Any) -> None:
        more.setdefault("no_args_is_help", False)
        more.setdefault("invoke_without_command", True)
        super().__init__(*args, **more)

    def invoke(self, context: click.Context) -> Any:
        if not context._protected_args and not context.args:
            raise click.UsageError("a command is missing", context)
        return super().invoke(context)

    def command(  # type: ignore[override]
        self, name: str, **more: Any
    ) -> Callable[[Callable[..., Any]], Command]:
        """Declare a command of a function ``(app, **options) -> Result``."""

        def decorate(function: Callable[..., Any]) -> Command:
            made: Command = click.command(name, cls=Command, **more)(function)
            self.add_command(made)
            return made

        return decorate

    def subgroup(self, name: str, help: str) -> Group:
        """Make a group inside this one."""
        made = Group(name, help=help)
        self.add_command(made)
        return made

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        """Name the nearest command in the error."""
        try:
            return super().resolve_command(context, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], self.list_commands(context), n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            raise click.UsageError(f"no such command '{args[0]}'{hint}", context) from error


def group(name: str, help: str) -> Group:
    """Make a group of core commands."""
    return Group(name, help=help)


def command(name: str, **more: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a top-level core command of a function ``(app, **options) -> Result``."""

    def decorate(function: Callable[..., Any]) -> Command:
        kind: type[Command] = more.pop("cls", Command)
        made: Command = click.command(name, cls=kind, **more)(function)
        return made

    return decorate


def refuse(message: str) -> NoReturn:
    """Raise a usage error of the command's own."""
    raise UsageError(message)
