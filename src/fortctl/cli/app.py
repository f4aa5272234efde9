"""Run one command line: find the command, run it, print its result or its error, return the exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import click

from fortctl import __version__
from fortctl.cli.commands import Group
from fortctl.cli.options import Invocation
from fortctl.cli.output import make_tolerant, print_ended, print_error, print_result, silence
from fortctl.cli.registry import ALIASES, COMMANDS
from fortctl.cli.result import OutputClosedError, Result
from fortctl.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, FortctlError, InternalError, Terminated, UsageError
from fortctl.secret import redact
from fortctl.system.files import NotARegularFileError


class Root(Group):
    """The root command; it imports the module of the command that is named, and no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from fortctl.cli.plugins import command_plugins

        return [*COMMANDS, *dict.fromkeys(plugin.name for plugin in command_plugins())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            from importlib import import_module

            module, attribute, _help = COMMANDS[cmd_name]
            command: click.Command = getattr(import_module(module), attribute)
            return command
        from fortctl.cli.plugins import find

        plugin = find(cmd_name)
        return _PluginCommand(plugin) if plugin is not None else None

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Give a command that was named by an alias its own name."""
        name, command, rest = super().resolve_command(context, args)
        return ALIASES.get(name, name), command, rest

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_module, _attribute, line) in COMMANDS.items()])
        from fortctl.cli.plugins import command_plugins

        plugins = [(plugin.name, f"from {plugin.distribution}") for plugin in command_plugins()]
        if plugins:
            with formatter.section("Plugin commands"):
                formatter.write_dl(plugins)


class _PluginCommand(click.Command):
    """Passes all remaining arguments to the plugin's own library, click or Typer."""

    def __init__(self, plugin: Any) -> None:
        super().__init__(
            plugin.name,
            add_help_option=False,
            context_settings={
                "ignore_unknown_options": True,
                "allow_extra_args": True,
                "allow_interspersed_args": False,
            },
        )
        self._plugin = plugin

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return []

    def invoke(self, ctx: click.Context) -> int:
        from fortctl.cli.plugins import load, run

        invocation = ctx.ensure_object(Invocation)
        invocation.command = self._plugin.name
        given = invocation.globals()
        # A plugin reads the global options from the environment.
        os.environ.update(FORTCTL_HOME=str(given.home), FORTCTL_ACCOUNT=given.account)
        if given.json:
            os.environ["FORTCTL_JSON"] = "1"
        code = run(load(self._plugin), self._plugin.name, ctx.args)
        if code != 0 and invocation.interrupted:
            # click ends in 1 on Ctrl-C, Typer in 130: here it is always 130.
            raise KeyboardInterrupt
        return code


def root() -> Root:
    made = Root("fortctl", help="Hold two dedicated Binance keys per account, and seal the trading one to its robot.")
    version = click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, help="Print the version.")
    version.callback = _print_version
    made.params.append(version)
    return made


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        print(f"fortctl {__version__}")
        context.exit()


def run(words: Sequence[str]) -> int:
    """Run one command line.

    Args:
        words: the arguments after the program's name.

    Returns:
        The exit code: that of the error (``errors.py``), or 0.
    """
    invocation = Invocation()
    as_json = "--json" in words or os.environ.get("FORTCTL_JSON") == "1"
    make_tolerant()
    _install_signal_handlers(invocation)
    outcome: Result | BaseException | int = 0
    try:
        outcome = _run_command(words, invocation)
        return _print_outcome(outcome, invocation, as_json)
    except (KeyboardInterrupt, click.Abort):
        return _print_outcome(KeyboardInterrupt(), invocation, as_json)
    except Terminated as ended:
        return _print_outcome(ended, invocation, as_json)
    except (BrokenPipeError, OutputClosedError):
        silence()
        return outcome.exit_code if isinstance(outcome, FortctlError) else 0
    except OSError as error:
        # The output itself fails (a full disk): stderr is what is left to say so.
        print(
            f"error: the output cannot be written: {error.strerror}\nhint: check the disk or the program that reads it",
            file=sys.stderr,
        )
        silence()
        return InternalError.exit_code


def _run_command(words: Sequence[str], invocation: Invocation) -> Result | FortctlError | int:
    """Run the command; return its result, its error or its exit code. Signals and a closed stdout pass through."""
    try:
        outcome = root().main(
            args=list(words),
            prog_name="fortctl",
            standalone_mode=False,
            obj=invocation,
            complete_var="_FORTCTL_COMPLETE",
        )
    except FortctlError as error:
        return error
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        return _usage_error(error, words)
    except (click.Abort, OutputClosedError):
        raise
    except NotARegularFileError as error:
        return error.as_config_error()
    except Exception as error:
        # strerror alone: a file name may be anything that was typed.
        reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        fault = InternalError(f"unexpected {type(error).__name__}{reason}")
        fault.__cause__ = error
        return fault
    return outcome if isinstance(outcome, Result | int) else 0


def _print_outcome(outcome: Result | BaseException | int, invocation: Invocation, as_json: bool) -> int:
    """Print an outcome; return its exit code."""
    match outcome:
        case Result():
            print_result(outcome, invocation)
            return 0
        case FortctlError():
            print_error(outcome, invocation, as_json)
            return outcome.exit_code
        case Terminated():
            print_ended("TERMINATED", "terminated", EXIT_TERMINATED, invocation, as_json)
            return EXIT_TERMINATED
        case KeyboardInterrupt():
            print_ended("INTERRUPTED", "interrupted", EXIT_INTERRUPTED, invocation, as_json)
            return EXIT_INTERRUPTED
        case int():
            return outcome
    raise TypeError(f"no outcome: {type(outcome).__name__}")


def _install_signal_handlers(invocation: Invocation) -> None:
    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    def interrupt(number: int, frame: FrameType | None) -> None:
        invocation.interrupted = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    # A handler of our own: asyncio's would only cancel the task, which a prompt in the middle of it never notices.
    signal.signal(signal.SIGINT, interrupt)


# Longer than any command or option: what is longer is a value.
_LONGEST_QUOTED = 20


def _usage_error(error: click.ClickException, words: Sequence[str]) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "fortctl"
    message = error.format_message().rstrip(".")
    # A long value may be a secret that was typed as an argument: it is never repeated.
    values = [word.partition("=")[2] if word.startswith("--") else word for word in words]
    for value in sorted(values, key=len, reverse=True):
        if len(value) > _LONGEST_QUOTED:
            message = message.replace(value, "<value>").replace(repr(value)[1:-1], "<value>")
    return UsageError(redact(message[:1].lower() + message[1:]), hint=f"see '{path} --help'")
