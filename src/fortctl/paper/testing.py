"""The paper exchange for tests of any bot: in the test's process, or in a process of its own.

As a pytest plugin (``pytest_plugins = ["fortctl.paper.testing"]``) it provides two fixtures, ``paper_exchange`` and
``paper_exchange_process``; without pytest use :func:`in_process` and :func:`as_process`. Nothing of fortctl's robot or
vault is loaded. By default the market is ``synthetic:1``:

    @pytest.mark.paper_exchange(market=["BTCUSDT-trades-2021-01-08.csv"], speed="max")
    def test_my_bot(paper_exchange):
        key = paper_exchange.create_key("bot", permissions=["reading", "spot_trading"])
        client = MyClient(paper_exchange.url, key["api_key"], key["secret_key"])
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from fortctl.paper.engine.market_data import Recording

READY_WITHIN_S = 30.0
ENDS_WITHIN_S = 10.0


class PaperExchange:
    """A running paper exchange.

    Attributes:
        url, ws_url: its base addresses, for example ``http://127.0.0.1:41234``.
        symbols: what is traded.
        folder: the folder of its ``server.json``.
    """

    def __init__(self, folder: Path, ready: dict[str, Any]) -> None:
        self.folder = folder
        self.url: str = ready["url"]
        self.ws_url: str = ready["ws_url"]
        self.symbols: list[str] = ready["symbols"]

    @property
    def rest_url(self) -> str:
        """The base of ``/api/v3`` and ``/sapi`` without their versions: ``…/api``."""
        return f"{self.url}/api"

    @property
    def ws_api_url(self) -> str:
        return f"{self.ws_url}/ws-api/v3"

    @property
    def stream_url(self) -> str:
        """The base of ``/ws`` and ``/stream``."""
        return self.ws_url

    def ask(self, what: str, **body: Any) -> dict[str, Any]:
        """Call the exchange's admin API, for example ``ask("keys/list")``.

        Raises:
            FortctlError: the exchange refused.
        """
        from fortctl.paper.admin_client import ask

        return ask(self.folder, what, body)

    def create_account(self, name: str, deposits: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        return self.ask("accounts/create", name=name, deposits=deposits or {}, **more)

    def deposit(self, asset: str, amount: str, account: str = "default") -> None:
        self.ask("deposit", asset=asset, amount=amount, account=account)

    def create_key(
        self,
        name: str = "test",
        permissions: Sequence[str] = ("reading", "spot_trading"),
        type: str = "hmac",
        **more: Any,
    ) -> dict[str, Any]:
        """Create a key.

        Args:
            permissions: as ``fortctl paper keys create --permissions``.
            type: ``hmac``, ``ed25519`` or ``rsa``.
            more: ``ips``, ``account``, ``expires_in``, ``public_key``.

        Returns:
            ``name, type, api_key, permissions`` and ``secret_key``, or ``private_key`` (PEM).
        """
        return self.ask("keys/create", name=name, permissions=list(permissions), type=type, **more)

    def edit_key(self, name: str, **changes: Any) -> None:
        self.ask("keys/edit", name=name, **changes)

    def delete_key(self, name: str) -> None:
        self.ask("keys/delete", name=name)

    def fault(self, kind: str, **more: Any) -> dict[str, Any]:
        """Set a fault: ``fault("cut-after-execute", method="POST", path="/api/v3/order", count=1)``."""
        fault: dict[str, Any] = self.ask("fault/set", kind=kind, **more)["fault"]
        return fault

    def clear_faults(self) -> None:
        self.ask("fault/clear")

    def faults(self) -> list[dict[str, Any]]:
        faults: list[dict[str, Any]] = self.ask("fault/list")["faults"]
        return faults

    def pause(self) -> None:
        self.ask("market", action="pause")

    def resume(self) -> None:
        self.ask("market", action="resume")

    def step(self, trades: int = 1) -> dict[str, Any]:
        """Replay so many recorded trades now; return the replay's status."""
        return self.ask("market", action="step", count=trades)

    def jump(self, percent: float) -> dict[str, Any]:
        return self.ask("market", action="jump", percent=percent)

    def market(self) -> dict[str, Any]:
        return self.ask("market", action="status")

    def edit_symbol(self, symbol: str, **changes: str) -> dict[str, Any]:
        """Change a symbol: ``edit_symbol("BTCUSDT", status="HALT", **{"LOT_SIZE.stepSize": "0.01"})``."""
        edited: dict[str, Any] = self.ask("symbols/edit", symbol=symbol, changes=changes)["symbol"]
        return edited

    def requests(self) -> list[dict[str, Any]]:
        """Return the request log; it contains no signature and no secret."""
        entries: list[dict[str, Any]] = self.ask("requests")["requests"]
        return entries


def _recordings(sources: Sequence[str], symbol: str | None) -> dict[str, Recording]:
    """Load recordings once in a process; each exchange has symbols of its own, which tests may edit."""
    from copy import deepcopy
    from dataclasses import replace

    from fortctl.paper.engine.market_data import load_all

    seen = [path.stat() if path.is_file() else None for path in map(Path, sources)]
    key = (tuple(sources), symbol, tuple(file and (file.st_mtime_ns, file.st_size) for file in seen))
    if key not in _RECORDINGS:
        _RECORDINGS[key] = load_all(sources, symbol)
    return {name: replace(recording, symbol=deepcopy(recording.symbol)) for name, recording in _RECORDINGS[key].items()}


_RECORDINGS: dict[tuple[Any, ...], dict[str, Recording]] = {}


@contextmanager
def in_process(
    *,
    market: Sequence[str] = ("synthetic:1",),
    symbol: str | None = None,
    speed: float | str = 1.0,
    start: float = 0.0,
    limits: str = "real",
    fill_model: str = "through",
    state: Path | None = None,
) -> Iterator[PaperExchange]:
    """Serve a paper exchange from a thread of this process.

    Args:
        market: recordings, or ``synthetic:SEED``.
        speed: market seconds for each real second, or ``"max"``.
        start: share of the recording (0 to 1) that is history.
        limits: ``real``, ``scaled`` or ``off``.
    """
    from fortctl.paper.server.lifecycle import RunningServer
    from fortctl.paper.server.lifecycle import start as begin
    from fortctl.paper.server.server import ServerOptions

    recordings = _recordings([str(source) for source in market], symbol)
    with tempfile.TemporaryDirectory(prefix="paper-exchange-") as name:
        folder, pace = Path(name), None if speed == "max" else float(speed)
        options = ServerOptions(
            *(recordings, folder, "127.0.0.1", 0, pace, start),
            limits=limits,
            fill_model=fill_model,
            state=state,
        )
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="paper-exchange", daemon=True)
        thread.start()
        try:
            running: RunningServer = asyncio.run_coroutine_threadsafe(begin(options), loop).result(READY_WITHIN_S)
            try:
                yield PaperExchange(folder, running.ready)
            finally:
                asyncio.run_coroutine_threadsafe(running.stop(), loop).result(ENDS_WITHIN_S)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(ENDS_WITHIN_S)
            loop.close()


@contextmanager
def as_process(*, market: Sequence[str] = ("synthetic:1",), words: Sequence[str] = ()) -> Iterator[PaperExchange]:
    """Serve a paper exchange from a process of its own.

    Args:
        market: recordings, or ``synthetic:SEED``.
        words: further options of ``fortctl paper serve``.
    """
    with tempfile.TemporaryDirectory(prefix="paper-exchange-") as name:
        home = Path(name)
        sources = [word for source in market for word in ("--market", str(source))]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FORTCTL_")}
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "fortctl", "--home", str(home), "paper", "serve", "--json", "--port", "0"),
                *sources,
                *words,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the paper exchange ended with {process.wait()}")
            yield PaperExchange(home / "paper", json.loads(line)["data"])
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


# -- the pytest plugin -------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    words = "paper_exchange(**options): how the fixture paper_exchange serves (see fortctl.paper.testing.in_process)"
    config.addinivalue_line("markers", words)


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker("paper_exchange")
    return dict(marker.kwargs) if marker is not None else {}


def _fixtures() -> tuple[Any, Any]:
    import pytest

    @pytest.fixture(name="paper_exchange")
    def paper_exchange(request: pytest.FixtureRequest) -> Iterator[PaperExchange]:
        """A paper exchange in this process, one for each test."""
        with in_process(**_options(request)) as running:
            yield running

    @pytest.fixture(name="paper_exchange_process")
    def paper_exchange_process(request: pytest.FixtureRequest) -> Iterator[PaperExchange]:
        """A paper exchange in a process of its own, one for each test."""
        options = _options(request)
        words = [word for name, value in options.items() if name != "market" for word in (f"--{name}", str(value))]
        with as_process(market=options.get("market", ("synthetic:1",)), words=words) as running:
            yield running

    return paper_exchange, paper_exchange_process


if "pytest" in sys.modules:
    paper_exchange, paper_exchange_process = _fixtures()
