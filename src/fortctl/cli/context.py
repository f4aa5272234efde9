"""What every command gets and gives: globals, results, questions, the one way of declaring a command."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fortctl.cli.output import encode
from fortctl.errors import BadInputError, ConfirmationNeededError, FortctlError, UsageError
from fortctl.secret import Secret

if TYPE_CHECKING:
    from fortctl.bootstrap.container import Container

from fortctl.cli.options import _CHANGING, _READING, Globals
from fortctl.cli.result import OutputClosedError

INPUT_LIMIT = 256 * 1024


class CommandContext:
    """A command's view of the world outside it."""

    def __init__(self, given: Globals, command: str = "") -> None:
        self.globals = given
        self.command = command
        self.warnings: list[tuple[str, str]] = []
        self._stdin_taken = False

    @cached_property
    def wiring(self) -> Container:
        """The adapters, wired late: a command that needs none imports none."""
        from fortctl.bootstrap.container import Container

        return Container(self)

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
            raise OutputClosedError from None

    # -- asking ----------------------------------------------------------------------------------------------------

    @property
    def may_ask(self) -> bool:
        return not self.globals.no_input and sys.stdin is not None and sys.stdin.isatty() and not self._stdin_taken

    def confirm(self, question: str) -> None:
        """Ask a plain question; ``--yes`` answers it. Raises ``ConfirmationNeededError`` on no, or when it may not ask."""
        if self.globals.yes:
            return
        if not self.may_ask:
            raise ConfirmationNeededError(
                f"this needs an answer: {question}", hint="give --yes, or run it on a terminal"
            )
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise ConfirmationNeededError("not confirmed: nothing was done", hint="answer y to go on")

    def read_answer(self, question: str) -> str:
        """Ask for a line that is no secret. Raises ``ConfirmationNeededError`` where nobody can be asked."""
        if not self.may_ask:
            raise ConfirmationNeededError(f"this needs an answer: {question}", hint="run it on a terminal")
        print(question, end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip()

    def confirm_typed(self, name: str, given: str | None, question: str) -> None:
        """Have a name typed; ``--confirm NAME`` answers, ``--yes`` does not."""
        if given is None and self.may_ask:
            print(f"{question} Type '{name}' to confirm: ", end="", file=sys.stderr, flush=True)
            given = sys.stdin.readline().strip()
        if given is None:
            raise ConfirmationNeededError(f"this needs a typed confirmation: {question}", hint=f"give --confirm {name}")
        if given != name:
            raise ConfirmationNeededError(
                "the typed name does not match: nothing was done", hint=f"it must be '{name}'"
            )

    def read_hidden(self, prompt: str) -> Secret:
        """Ask for a secret on the terminal, without echo. Raises ``ConfirmationNeededError`` where nobody can be asked."""
        if not self.may_ask:
            raise ConfirmationNeededError(
                f"nobody can be asked for: {prompt}", hint="give it in a file or on a terminal"
            )
        import getpass

        try:
            return Secret(getpass.getpass(f"{prompt}: ", stream=sys.stderr))
        except EOFError:
            raise ConfirmationNeededError("the input ended", hint="give it in a file or on a terminal") from None

    def read_input(self, source: str) -> bytes:
        """Read ``--input`` or another file option, ``-`` being stdin; bounded.

        Raises:
            BadInputError: it is too large, or cannot be read.
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
                raise BadInputError(f"the input file cannot be read: {error.strerror}", hint="check the path") from None
        if len(data) > INPUT_LIMIT:
            raise BadInputError(f"the input is larger than {INPUT_LIMIT // 1024} KiB")
        return data
