"""Two commands from another distribution: one for each kind of command that fortctl takes."""

from __future__ import annotations

import os
import time
from typing import Annotated

import click
import typer

hello = typer.Typer(help="Say hello (a Typer app).", add_completion=False)


@hello.command()
def greet(
    name: Annotated[str, typer.Option(help="Whom to greet.")] = "world",
    code: Annotated[int, typer.Option(help="The exit code.")] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for Ctrl-C.")] = False,
) -> None:
    """Say hello and tell which account was chosen."""
    typer.echo(f"hello {name}, account {os.environ['FORTCTL_ACCOUNT']}")
    if wait:
        time.sleep(60)
    raise typer.Exit(code)


@click.command()
@click.option("--name", default="world", help="Whom to greet.")
@click.option("--wait", is_flag=True, help="Wait for Ctrl-C.")
def hello_click(name: str, wait: bool) -> None:
    """Say hello (a click command)."""
    click.echo(f"hello {name}, home {os.environ['FORTCTL_HOME']}")
    if wait:
        time.sleep(60)
