"""Paper exchanges in the test's own process: one event loop a worker serves one for each test.

A hosted exchange costs a test some milliseconds, a process of its own a second. Faults, prices, limits and key names
are each test's own. What must be killed, stopped or started again is a process: ``harness.serve_paper``.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Coroutine, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fortctl.paper.engine.accounts import ApiKey
from fortctl.paper.engine.market_data import load
from fortctl.paper.server.lifecycle import RunningServer, start
from fortctl.paper.server.server import ServerOptions
from support.harness import Shell

WITHIN_S = 30.0

# A market is made once; its symbol can be edited and is each exchange's own.
market = functools.cache(load)


class ExchangeHost:
    """The event loop, in a thread, of all exchanges of a worker."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="exchanges", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WITHIN_S)

    def serve(self, home: Path, *words: str) -> HostedExchange:
        """Serve an exchange whose page is that of a home (``HOME/paper/server.json``).

        Args:
            words: ``--market``, ``--speed``, ``--limits`` and ``--loop``, as ``fortctl paper serve`` takes them.
        """
        given, loop = list(words), "--loop" in words
        if loop:
            given.remove("--loop")
        pairs = list(zip(given[::2], given[1::2], strict=True))
        recordings = [market(value) for name, value in pairs if name == "--market"] or [market("synthetic:1")]
        named = {name: value for name, value in pairs if name != "--market"}
        pace = named.pop("--speed", "1")
        speed = None if pace == "max" else float(pace)
        limits = named.pop("--limits", "off" if speed is None else "real" if speed == 1 else "scaled")
        assert not named, f"a hosted exchange does not know {named}"
        folder = home / "paper"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
        options = ServerOptions(
            {one.symbol.name: replace(one, symbol=deepcopy(one.symbol)) for one in recordings},
            folder,
            "127.0.0.1",
            0,
            speed,
            loop=loop,
            limits=limits,
        )
        return HostedExchange(self, self.run(start(options)))


@dataclass
class HostedExchange:
    """A running exchange of the host."""

    host: ExchangeHost
    running: RunningServer
    stopped: bool = False

    @property
    def ready(self) -> dict[str, Any]:
        return self.running.ready

    def keys(self) -> list[ApiKey]:
        return list(self.running.server.engine.state.keys.values())

    def add_keys(self, keys: Iterable[ApiKey]) -> None:
        """Have an earlier exchange's keys here too: homes that were made with it can be copied."""

        async def add() -> None:
            for key in keys:
                self.running.server.engine.add_key(replace(key))

        self.host.run(add())

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.host.run(self.running.stop())


@functools.cache
def host() -> ExchangeHost:
    """Return the worker's host; it ends with the process."""
    return ExchangeHost()


def serve(shell: Shell, *words: str) -> HostedExchange:
    """Serve an exchange for a shell's home (see :meth:`ExchangeHost.serve`)."""
    return host().serve(shell.home, *words)
