"""``fortctl demo``: the whole story on the paper exchange, with real processes."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from fortctl.cli.commands import command
from fortctl.cli.context import CommandContext
from fortctl.cli.render import colourful, table
from fortctl.cli.result import Result
from fortctl.errors import InternalError

PREFERRED = "XRPETH-trades-2019-10-11.csv"
SYNTHETIC = "synthetic:7"


@command("demo", help="Demonstrate keys, trading, rotation, key loss and panic on the paper exchange, with proofs.")
@click.option("--fast", is_flag=True, help="Finish in less than a minute.")
@click.option(
    "--market",
    metavar="FILE|synthetic:SEED",
    help="Market data to replay (default: $FORTCTL_MARKET_DATA, else synthetic).",
)
def demo(context: CommandContext, fast: bool, market: str | None) -> Result:
    from fortctl.bootstrap.container import Container
    from fortctl.demo.scenario import FAST, FULL, Story
    from fortctl.demo.shell import DemoShell

    started = time.monotonic()
    shell = DemoShell()
    try:
        own = Container(context.globals._replace(home=shell.home, account="default"), context.prompts, context.warn)
        view = _LiveView(context)
        story = Story(shell, market or _market(), FAST if fast else FULL, view.say, view.show, own.connect)
        lines = story.play()
    finally:
        shell.close()
    elapsed = time.monotonic() - started
    data = {"story": [line.as_json() for line in lines], "elapsed_s": round(elapsed, 1)}
    rows = [["yes" if line.held else "NO", line.step, line.result, line.proof] for line in lines]
    text = "\n" + table(["proved", "step", "result", "proof"], rows) + f"\n\n{elapsed:.0f} s in all"
    failed = [line.step for line in lines if not line.held]
    if failed:
        raise InternalError(f"a proof did not hold: {', '.join(failed)}", data=data, text=text)
    return Result(data, text=text)


def _market() -> str:
    given = os.environ.get("FORTCTL_MARKET_DATA")
    if not given:
        return SYNTHETIC
    path = Path(given)
    if path.is_dir():
        path = path / PREFERRED
    return str(path.absolute()) if path.is_file() else SYNTHETIC


class _LiveView:
    """The robot at work: one line that changes on a terminal, plain lines otherwise."""

    def __init__(self, context: CommandContext) -> None:
        self._context = context
        self._animated = colourful(sys.stderr) and not context.globals.json and not context.globals.quiet
        self._closed = -1
        self._wiped = True

    def say(self, line: str) -> None:
        if not self._wiped:
            print("\r\x1b[2K", end="", file=sys.stderr)
            self._wiped = True
        self._context.progress(line)

    def show(self, status: dict[str, Any]) -> None:
        from fortctl.commands.robot import one_line
        from fortctl.services.robot.status import RobotReport

        line = f"   {one_line(RobotReport.from_json(status))}"
        if self._animated:
            width = shutil.get_terminal_size().columns
            print(f"\r\x1b[2K{line[: width - 1]}", end="", file=sys.stderr, flush=True)
            self._wiped = False
        elif status["cycles"]["closed"] != self._closed:
            self._closed = status["cycles"]["closed"]
            self._context.progress(line)
