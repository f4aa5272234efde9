"""Run fortctl and SIGKILL it at one write of the rotation's journal: ``rotation_killer.py STEP WRITE WHEN -- words…``.

A program of its own, so that the kill is a real one: of a real process, by the kernel.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from fortctl.services.rotation.journal import RotationJournal


def main() -> None:
    step, write, when = sys.argv[1:4]
    put = RotationJournal.put

    def watched(self: Any, operation: Any) -> Any:
        doing = next((one.name for one in operation.steps if one.state == "doing"), None)
        done = [one.name for one in operation.steps if one.state == "done"]
        at = (doing, "doing") if doing else (done[-1] if done else "begin", "done")
        if at == (step, write) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = put(self, operation)
        if at == (step, write) and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    RotationJournal.put = watched  # type: ignore[method-assign]
    from fortctl.cli.app import run

    sys.exit(run(sys.argv[5:]))


if __name__ == "__main__":
    main()
