"""Questions to the operator, and the files that options name. Prompts go to stderr: stdout holds results alone."""

from __future__ import annotations

import os
import sys

from fortctl.errors import BadInputError, ConfirmationNeededError, UsageError
from fortctl.secret import Secret
from fortctl.terminal.printable import printable

INPUT_LIMIT = 256 * 1024


class Prompts:
    """Ask the operator at the terminal, and read input files.

    Args:
        yes: answer plain questions with yes (``--yes``).
        no_input: never prompt (``--no-input``).
    """

    def __init__(self, *, yes: bool = False, no_input: bool = False) -> None:
        self._yes = yes
        self._no_input = no_input
        self._stdin_consumed = False

    @property
    def available(self) -> bool:
        """Whether a prompt can be answered: stdin is a terminal, was not read as a file, and prompts are allowed."""
        return not self._unavailable_because()

    def _unavailable_because(self) -> str:
        if self._no_input:
            return "--no-input forbids prompts"
        if self._stdin_consumed:
            return "standard input was read as a file"
        return "" if sys.stdin is not None and sys.stdin.isatty() else "not a terminal"

    def confirm(self, question: str) -> None:
        """Ask a yes/no question; ``--yes`` answers it.

        Raises:
            ConfirmationNeededError: the answer is no, or no prompt is possible.
        """
        if self._yes:
            return
        if not self.available:
            raise ConfirmationNeededError(
                f"confirmation needed: {question}", hint="give --yes, or run the command on a terminal"
            )
        print(printable(f"{question} [y/N] "), end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise ConfirmationNeededError("not confirmed: nothing was done", hint="answer y to continue")

    def confirm_typed(self, name: str, answer: str | None, question: str) -> None:
        """Require *name* to be typed; *answer* is the value of ``--confirm``. ``--yes`` does not answer it.

        Raises:
            ConfirmationNeededError: another name was typed, or no prompt is possible.
        """
        if answer is None and self.available:
            print(printable(f"{question} Type '{name}' to confirm: "), end="", file=sys.stderr, flush=True)
            answer = sys.stdin.readline().strip()
        if answer is None:
            raise ConfirmationNeededError(f"typed confirmation needed: {question}", hint=f"give --confirm {name}")
        if answer != name:
            raise ConfirmationNeededError(
                "the typed name does not match: nothing was done", hint=f"it must be '{name}'"
            )

    def read_line(self, question: str) -> str:
        """Ask for a line that is not secret. Raises ``ConfirmationNeededError`` when no prompt is possible."""
        if not self.available:
            raise ConfirmationNeededError(f"answer needed: {question}", hint="run the command on a terminal")
        print(printable(question), end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip()

    def read_hidden(self, label: str) -> Secret:
        """Ask for a secret without echo.

        Args:
            label: what to enter, for example ``"API key"``.

        Raises:
            ConfirmationNeededError: no prompt is possible, or stdin ended.
        """
        hint = "give it in a file, or run the command on a terminal"
        reason = self._unavailable_because()
        if reason:
            raise ConfirmationNeededError(f"cannot prompt for the {label}: {reason}", hint=hint)
        import getpass

        try:
            return Secret(os.fsencode(getpass.getpass(f"{label}: ", stream=sys.stderr)))
        except EOFError:
            raise ConfirmationNeededError(f"end of input at the prompt for the {label}", hint=hint) from None

    def read_input(self, source: str) -> bytes:
        """Read the file that an option names, ``-`` being stdin.

        Raises:
            BadInputError: the file cannot be read or is larger than 256 KiB.
            UsageError: stdin was read before.
        """
        if source == "-":
            if self._stdin_consumed:
                raise UsageError("standard input can be read only once")
            self._stdin_consumed = True
            data = sys.stdin.buffer.read(INPUT_LIMIT + 1)
        else:
            try:
                with open(source, "rb") as stream:
                    data = stream.read(INPUT_LIMIT + 1)
            except OSError as error:
                raise BadInputError(f"cannot read the input file: {error.strerror}", hint="check the path") from None
        if len(data) > INPUT_LIMIT:
            raise BadInputError(f"the input is larger than {INPUT_LIMIT // 1024} KiB")
        return data
