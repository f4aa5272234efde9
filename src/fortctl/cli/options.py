"""The global options: accepted before and after the command's name, merged while the command line is parsed."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import click

from fortctl.config.home import check_account_name, default_home
from fortctl.errors import UsageError
from fortctl.terminal.global_options import Globals


class Seconds(click.FloatRange):
    """A finite number of seconds. ``nan`` passes every range check, and a wait for it never ends."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"'{value}' is not a number of seconds", param, ctx)
        return seconds


@dataclass
class Invocation:
    """The state of parsing one command line; the error boundary reads it too.

    Attributes:
        values: the global options parsed so far; counts add up, the last of the others wins.
        command: the command's path so far, without the program's name.
        interrupted: True after SIGINT.
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
            UsageError: the account name is invalid, or ``~USER`` in the home's path names an unknown user.
        """
        environment = os.environ
        account = self.values.get("account") or environment.get("FORTCTL_ACCOUNT") or "default"
        try:
            home = self.values.get("home") or environment.get("FORTCTL_HOME") or default_home(environment)
            place = Path(home).expanduser().absolute()
        except RuntimeError:
            raise UsageError(
                "the home folder belongs to an unknown user", hint="give --home PATH, or set FORTCTL_HOME"
            ) from None
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


# -- declaring commands ----------------------------------------------------------------------------------------------


@cache
def _global_options() -> tuple[click.Option, ...]:
    # Made once, when the first command is parsed: a module of commands would make them for each of its own.
    def option(*names: str, **more: Any) -> click.Option:
        return click.Option(names, expose_value=False, **more)

    options = (
        option("--home", metavar="PATH", help="Home folder ($FORTCTL_HOME)."),
        option("--account", metavar="NAME", help="Account to use ($FORTCTL_ACCOUNT; default: default)."),
        option("--json", is_flag=True, help="Print one JSON document ($FORTCTL_JSON=1)."),
        option("--yes", "-y", is_flag=True, help="Answer plain questions with yes."),
        option("--quiet", "-q", is_flag=True, help="Print neither progress nor warnings."),
        option("--verbose", "-v", count=True, help="Print more; -vv prints tracebacks."),
        option("--no-input", is_flag=True, help="Never prompt."),
        option("--passphrase-file", metavar="FILE", help="Read the site vault's passphrase from FILE ('-': stdin)."),
        option("--robot-passphrase-file", metavar="FILE", help="Read the local robot vault's passphrase from FILE."),
    )
    for each in options:
        each.callback = _merge
    return options


def _merge(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    ctx.ensure_object(Invocation).merge({str(parameter.name): value})


class GlobalOptionsCommand(click.Command):
    """A click command that accepts the global options and ``-h``; parsing merges them into the invocation."""

    def __init__(self, *args: Any, **more: Any) -> None:
        more.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **more)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters, the global options and ``--help``."""
        *own, help_option = super().get_params(ctx)
        return [*own, *_global_options(), help_option]

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if parent is not None:
            invocation = parent.ensure_object(Invocation)
            invocation.command = f"{invocation.command} {info_name}".strip()
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
