"""A person at a terminal, for commands that ask."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable

from support.harness import Shell


class Terminal:
    """A person at a terminal: reads until a prompt stands there, then types."""

    def __init__(self, shell: Shell, *words: str) -> None:
        self._leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            shell.argv(*words), stdin=follower, stdout=follower, stderr=follower, env=shell.environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(follower)
        self.seen, self._at = "", 0

    def until(self, text: str, seconds: float = 60) -> None:
        """Read until a text was shown after the last one that was waited for."""
        deadline = time.monotonic() + seconds
        while text not in self.seen[self._at :]:
            assert time.monotonic() < deadline, f"'{text}' was never shown: {self.seen}"
            if select.select([self._leader], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self._leader, 65536).decode()
                except OSError:
                    break
        assert text in self.seen[self._at :], self.seen
        self._at = self.seen.index(text, self._at) + len(text)

    def types(self, prompt: str, answer: str, before: Callable[[], object] = lambda: None) -> None:
        self.until(prompt)
        before()
        os.write(self._leader, answer.encode() + b"\n")

    def end(self) -> int:
        while True:
            try:
                read = os.read(self._leader, 65536)
            except OSError:
                break
            self.seen += read.decode()
        os.close(self._leader)
        return self.process.wait(60)
