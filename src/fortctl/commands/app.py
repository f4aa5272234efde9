"""The root: knows the commands' names, finds and runs one, and is the one error boundary."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import click

from fortctl import __version__
from fortctl.commands.context import Draft, Group, Result
from fortctl.commands.render import render_data
from fortctl.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, FortctlError, InternalError, UsageError
from fortctl.names import CORE
from fortctl.secret import redact


class Terminated(BaseException):
    """SIGTERM, raised where the main thread stands, so that everything is closed on the way out."""


class Root(Group):
    """Knows names, not modules: a command's module is imported when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(CORE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in CORE:
            from importlib import import_module

            module, attribute, _help = CORE[cmd_name]
            command: click.Command = getattr(import_module(module), attribute)
            return command
        from fortctl.plugins import find

        plugin = find(cmd_name)
        return _PluginCommand(plugin) if plugin is not None else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_module, _attribute, line) in CORE.items()])
        from fortctl.plugins import discover

        plugins = [(plugin.name, f"from {plugin.distribution}") for plugin in discover() if not plugin.shadowed]
        if plugins:
            with formatter.section("Plugin commands"):
                formatter.write_dl(plugins)


class _PluginCommand(click.Command):
    """Hands every remaining word to the plugin's own library."""

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
        from fortctl.plugins import load, run

        draft = ctx.ensure_object(Draft)
        draft.command = self._plugin.name
        given = draft.globals()
        # A plugin finds the globals where the shell would have put them.
        os.environ.update(FORTCTL_HOME=str(given.home), FORTCTL_ACCOUNT=given.account)
        if given.json:
            os.environ["FORTCTL_JSON"] = "1"
        return run(load(self._plugin), self._plugin.name, ctx.args)


def root() -> Root:
    made = Root("fortctl", help="Two dedicated Binance keys per account; the trading one sealed to its robot.")
    version = click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, help="Show the version.")
    version.callback = _show_version
    made.params.append(version)
    return made


def _show_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        print(f"fortctl {__version__}")
        context.exit()


def run(words: Sequence[str]) -> int:
    """Run one command line.

    Args:
        words: the arguments after the program's name.

    Returns:
        The exit code of contract.md.
    """
    draft = Draft()
    as_json = "--json" in words or os.environ.get("FORTCTL_JSON") == "1"
    signal.signal(signal.SIGTERM, _terminate)
    # A handler of our own: asyncio's would only cancel the task, which a prompt in the middle of it never notices.
    signal.signal(signal.SIGINT, _interrupt)
    try:
        outcome = root().main(args=list(words), prog_name="fortctl", standalone_mode=False, obj=draft, **_completion())
        if isinstance(outcome, Result):
            _print_result(outcome, draft)
            return 0
        return outcome if isinstance(outcome, int) else 0
    except FortctlError as error:
        return _print_error(error, draft, as_json)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        return _print_error(_usage(error), draft, as_json)
    except (KeyboardInterrupt, click.Abort):
        return _print_ended("INTERRUPTED", "interrupted", EXIT_INTERRUPTED, draft, as_json)
    except Terminated:
        return _print_ended("TERMINATED", "terminated", EXIT_TERMINATED, draft, as_json)
    except BrokenPipeError:
        # The reader went away (`| head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        fault = InternalError(f"unexpected {type(error).__name__}")
        fault.__cause__ = error
        return _print_error(fault, draft, as_json)


def _completion() -> dict[str, Any]:
    return {"complete_var": "_FORTCTL_COMPLETE"}


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _usage(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "fortctl"
    message = error.format_message().rstrip(".")
    # Values may be secrets that somebody typed as an argument: they are never repeated.
    return UsageError(redact(message[:1].lower() + message[1:]), hint=f"see '{path} --help'")


def _print_result(result: Result, draft: Draft) -> None:
    given = draft.globals()
    if given.json:
        _print_document(
            {
                "ok": True,
                "command": draft.command,
                "account": given.account,
                "changed": result.changed,
                "data": dict(result.data),
                "warnings": [{"code": code, "message": message} for code, message in result.warnings],
            }
        )
        return
    if not given.quiet:
        for _code, message in result.warnings:
            print(f"warning: {message}", file=sys.stderr)
    text = result.text() if callable(result.text) else result.text
    rendered = render_data(result.data) if text is None else text
    if rendered:
        print(rendered, flush=True)


def _print_error(error: FortctlError, draft: Draft, as_json: bool) -> int:
    if as_json:
        document: dict[str, Any] = {
            "ok": False,
            "command": draft.command,
            "account": draft.values.get("account") or os.environ.get("FORTCTL_ACCOUNT") or "default",
            "error": error.as_json(),
        }
        if error.data is not None:
            document["data"] = error.data
        document["warnings"] = [{"code": code, "message": message} for code, message in error.warnings]
        _print_document(document)
    else:
        if error.data is not None:
            print(error.text or render_data(error.data), flush=True)
        for _code, message in error.warnings:
            print(f"warning: {message}", file=sys.stderr)
    if int(draft.values.get("verbose", 0)) >= 2:
        import traceback

        print(redact("".join(traceback.format_exception(error))), file=sys.stderr, end="")
    if not as_json:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
    return error.exit_code


def _print_ended(code: str, message: str, exit_code: int, draft: Draft, as_json: bool) -> int:
    if as_json:
        error = {
            "code": code,
            "message": message,
            "hint": "nothing is half-written; run the command again",
            "exit_code": exit_code,
            "exchange": None,
            "details": {},
        }
        _print_document({"ok": False, "command": draft.command, "account": "default", "error": error, "warnings": []})
    else:
        print(f"error: {message}\nhint: nothing is half-written; run the command again", file=sys.stderr)
    return exit_code


def _print_document(document: dict[str, Any]) -> None:
    print(json.dumps(document, ensure_ascii=False), flush=True)
