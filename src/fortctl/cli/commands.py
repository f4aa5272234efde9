"""What every command gets and gives: globals, results, questions, the one way of declaring a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import click

from fortctl.errors import FortctlError, InternalError, UsageError

if TYPE_CHECKING:
    pass

from fortctl.cli.context import CommandContext
from fortctl.cli.options import Invocation, _WithGlobals
from fortctl.cli.result import Result


class Command(_WithGlobals):
    """A core command: its callback takes the app and returns a :class:`Result` (or a coroutine of one)."""

    def invoke(self, context: click.Context) -> Any:
        draft = context.ensure_object(Invocation)
        app = CommandContext(draft.globals(), draft.command)
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
