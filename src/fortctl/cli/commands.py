"""How a command is declared: a function from the context and its options to a :class:`Result`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from fortctl.cli.context import CommandContext
from fortctl.cli.options import GlobalOptionsCommand, Invocation
from fortctl.cli.result import Result
from fortctl.config.home import Home
from fortctl.errors import FortctlError, InternalError

# Commands that read nothing of the home.
_WITHOUT_HOME = ("demo", "explain")


class CliCommand(GlobalOptionsCommand):
    """A core command; its callback takes a context and options, and returns a :class:`Result` or a coroutine of one."""

    def invoke(self, ctx: click.Context) -> Any:
        invocation = ctx.ensure_object(Invocation)
        context = CommandContext(invocation.globals(), invocation.command)
        assert self.callback is not None
        if context.command not in _WITHOUT_HOME:
            Home(context.globals.home).require_access()
        try:
            result = self.callback(context, **ctx.params)
            if hasattr(result, "__await__"):
                import asyncio

                result = asyncio.run(result)
        except FortctlError as error:
            error.warnings = (*context.warnings, *error.warnings)
            context.record_failure(error)
            raise
        except (EOFError, BrokenPipeError) as error:
            # Not the terminal's: click would report a socket's end as Ctrl-D, or as a closed stdout.
            raise InternalError(f"unexpected {type(error).__name__}") from error
        if isinstance(result, Result) and context.warnings:
            result = replace(result, warnings=(*context.warnings, *result.warnings))
        return result


class Group(GlobalOptionsCommand, click.Group):
    """A group of core commands."""

    def __init__(self, *args: Any, **more: Any) -> None:
        more.setdefault("no_args_is_help", False)
        more.setdefault("invoke_without_command", True)
        super().__init__(*args, **more)
        self._lazy: dict[str, tuple[str, str]] = {}

    def add_lazy(self, name: str, module: str, attribute: str) -> None:
        """Add a command whose module is imported only when the command, or this group's help, is asked for."""
        self._lazy[name] = (module, attribute)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self._lazy])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        from importlib import import_module

        module, attribute = self._lazy[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        if not ctx._protected_args and not ctx.args:
            raise click.UsageError("a command is missing", ctx)
        return super().invoke(ctx)

    def command(  # type: ignore[override]
        self, name: str, **more: Any
    ) -> Callable[[Callable[..., Any]], CliCommand]:
        """Make a function ``(context, **options) -> Result`` a command of this group."""

        def decorate(function: Callable[..., Any]) -> CliCommand:
            made: CliCommand = click.command(name, cls=CliCommand, **more)(function)
            self.add_command(made)
            return made

        return decorate

    def subgroup(self, name: str, help: str) -> Group:
        """Add a group to this one and return it."""
        made = Group(name, help=help)
        self.add_command(made)
        return made

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the named command; the error for an unknown name suggests the closest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            raise click.UsageError(f"no such command '{args[0]}'{hint}", ctx) from error


def group(name: str, help: str) -> Group:
    """Return a new top-level group."""
    return Group(name, help=help)


def command(name: str, **more: Any) -> Callable[[Callable[..., Any]], CliCommand]:
    """Make a function ``(context, **options) -> Result`` a top-level command."""

    def decorate(function: Callable[..., Any]) -> CliCommand:
        kind: type[CliCommand] = more.pop("cls", CliCommand)
        made: CliCommand = click.command(name, cls=kind, **more)(function)
        return made

    return decorate
