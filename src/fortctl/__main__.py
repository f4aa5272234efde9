"""The console script. ``--version`` and the completion of command names are answered before click is imported."""

from __future__ import annotations

import gc
import os
import sys


def main() -> int:
    """Run fortctl with ``sys.argv``; return the exit code."""
    _take_closed_streams()
    try:
        if sys.argv[1:] == ["--version"]:
            from fortctl import __version__

            print(f"fortctl {__version__}", flush=True)
            return 0
        if os.environ.get("_FORTCTL_COMPLETE", "").endswith("_complete") and _complete():
            return 0
        # Modules live as long as the process: collecting them while they are imported, and again at the end, finds
        # nothing and costs a tenth of a short command.
        gc.disable()
        from fortctl.cli.app import run

        gc.freeze()
        gc.enable()
    except KeyboardInterrupt:
        # Before the error boundary stands.
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return run(sys.argv[1:])


def _take_closed_streams() -> None:
    """Point standard streams that were closed (``>&-``) nowhere: no file opened later may stand in their place."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
            stream = os.fdopen(descriptor, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False)
            setattr(sys, name, stream)


def _complete() -> bool:
    """Complete the first word by click's own protocol (shell_completion.py); False when click must answer."""
    from fortctl.cli.registry import COMMANDS, complete

    words, shell = os.environ.get("COMP_WORDS", ""), os.environ["_FORTCTL_COMPLETE"].removesuffix("_complete")
    if shell not in ("bash", "zsh", "fish"):
        return False
    if shell == "fish":
        # click's fish script hands over the current word alone.
        split = words.split()
        current = os.environ.get("COMP_CWORD", "")
        cword = len(split) - (1 if current and split and split[-1] == current else 0)
    elif os.environ.get("COMP_CWORD", "").isdigit():
        split, cword = words.split(), int(os.environ["COMP_CWORD"])
    else:
        return False
    names = complete(split, cword)
    if names is None:
        return False
    for name in names:
        if shell == "zsh":
            print(f"plain\n{name}\n{COMMANDS[name][2]}")
        elif shell == "fish":
            print(f"plain,{name}\t{COMMANDS[name][2]}")
        else:
            print(f"plain,{name}")
    return True


if __name__ == "__main__":
    raise SystemExit(main())
