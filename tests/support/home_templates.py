"""Homes that are made once a worker and copied for each test."""

from __future__ import annotations

import functools
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fortctl.paper.engine.accounts import ApiKey
from support.fork_server import fork_server
from support.harness import STILL, Shell, end_robots, forks
from support.hosted_exchange import HostedExchange, serve


@dataclass(frozen=True)
class HomeTemplate:
    """A home at rest.

    Attributes:
        home: its folder; nothing runs in it.
        keys: what the exchange knows of its keys.
    """

    home: Path
    keys: tuple[ApiKey, ...] = ()

    def copy_to(self, home: Path, exchange: HostedExchange) -> None:
        """Copy it to a home that has an exchange, and nothing else yet."""
        shutil.copytree(
            self.home, home, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("socket", "paper")
        )
        exchange.add_keys(self.keys)


class HomeTemplates:
    """Makes each template when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @functools.cached_property
    def ready(self) -> HomeTemplate:
        """A home made by ``init`` with a key-file slot."""
        shell = Shell(self._folder / "ready")
        shell.ok("init", "--exchange", "paper", "--slot", "keyfile")
        return HomeTemplate(shell.home)

    @functools.cached_property
    def keyed(self) -> HomeTemplate:
        """The same with a key for the site and one for the robot, which was ended in peace."""
        shell = Shell(self._folder / "keyed")
        exchange = serve(shell, *STILL)
        try:
            self.ready.copy_to(shell.home, exchange)
            for role, permissions in (("site", "reading"), ("robot", "reading,spot_trading")):
                key = shell.paper_key(f"{role}-1", permissions)
                shell.ok("keys", "add", "--role", role, "--input", "-", stdin=key)
            end_robots(shell.home)
            shell.await_status(lambda status: status["pid"] is None)
            return HomeTemplate(shell.home, tuple(exchange.keys()))
        finally:
            end_robots(shell.home)
            exchange.stop()


def bring_up(shell: Shell) -> None:
    """Start the robot as a command does."""
    argv, streams = shell.argv("robot", "run", "--brought-up"), [subprocess.DEVNULL] * 3
    if forks(argv, shell.environment):
        fork_server().start(argv[3:], shell.environment, streams, session=True)
    else:
        robot = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=shell.environment,
            start_new_session=True,
        )
        del robot
    shell.await_status(lambda status: status["pid"] is not None, what="the robot")
