"""The one object that a command's function receives beside its options."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fortctl.cli.output import encode
from fortctl.cli.result import OutputClosedError
from fortctl.terminal.printable import printable
from fortctl.terminal.prompts import Prompts

if TYPE_CHECKING:
    from fortctl.bootstrap.container import Container
    from fortctl.errors import FortctlError
    from fortctl.terminal.global_options import Globals

# Failures of commands that change something are recorded in the audit log: the groups, and their reading commands.
_CHANGING = ("accounts", "issuer", "keys", "panic-clear", "panic-disconnect", "robot", "vault")
_READING = (
    *("accounts list", "issuer status", "keys age", "keys list", "robot cycles", "robot logs", "robot report"),
    *("robot run", "robot status", "vault status"),
)


class CommandContext:
    """What a command may use: the global options, prompts, progress and warnings, and the container of adapters.

    Args:
        given: the global options.
        command: the command's path without the program's name, for example ``keys list``.
    """

    def __init__(self, given: Globals, command: str = "") -> None:
        self.globals = given
        self.command = command
        self.prompts = Prompts(yes=given.yes, no_input=given.no_input)
        self.warnings: list[tuple[str, str]] = []

    @cached_property
    def container(self) -> Container:
        """The adapters and services, made on first use: a command that needs none imports none."""
        from fortctl.bootstrap.container import Container

        return Container(self.globals, self.prompts, self.warn)

    def record_failure(self, error: FortctlError) -> None:
        """Append a failure to the audit log if the command changes something or an unlocking failed."""
        changes = self.command.split()[0] in _CHANGING and self.command not in _READING
        if error.code in ("USAGE", "ACTION_REQUIRED", "KEY_TOO_OLD"):
            return
        relevant = changes or error.code in ("VAULT_LOCKED", "VAULT_DAMAGED")
        if not relevant or not self.container.home.audit.exists():
            return
        details = {name: error.details[name] for name in ("role", "reason") if isinstance(error.details.get(name), str)}
        self.container.audit.append(
            f"{self.command} refused", account=self.globals.account, result=error.code, best_effort=True, **details
        )

    def progress(self, line: str) -> None:
        """Print one line to stderr, unless ``--quiet`` or ``--json`` is given."""
        if not self.globals.quiet and not self.globals.json:
            print(printable(line), file=sys.stderr, flush=True)

    def warn(self, code: str, message: str) -> None:
        """Add a warning that is printed with the result or the error."""
        self.warnings.append((code, message))

    def stream(self, document: Mapping[str, Any], text: str) -> None:
        """Print one line now, JSON or plain: for commands that follow or serve.

        Raises:
            OutputClosedError: the reader closed stdout.
        """
        try:
            print(encode(document) if self.globals.json else printable(text), flush=True)
        except BrokenPipeError:
            raise OutputClosedError from None
