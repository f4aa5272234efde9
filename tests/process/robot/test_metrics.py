"""What Prometheus reads, who may ask, and that dashboard and alerts name nothing that is not exported."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fortctl.config.settings import Address
from fortctl.model import Drift, DriftKind
from fortctl.robot.core.book import CycleCounts
from fortctl.robot.core.events import FillRecorded, Released
from fortctl.robot.core.hold_reasons import HoldCode, HoldReason
from fortctl.robot.core.status import KeyFacts, RobotFacts
from fortctl.robot.process.metrics import FAMILIES, STATES, Meter, MeteredJournal, Reading, exposition
from fortctl.robot.process.metrics_server import MetricsServer
from support.harness import REPOSITORY, Shell

DASHBOARD = REPOSITORY / "contrib" / "grafana" / "fortctl-robots.json"
ALERTS = REPOSITORY / "contrib" / "prometheus" / "fortctl-alerts.yml"
FACTS = RobotFacts(
    state="held",
    symbol='BTC"US\\DT\n',
    orders_open=3,
    cycles=CycleCounts(open=2, closed=5, held=1),
    hold=(HoldReason(HoldCode.GAP, "x"), HoldReason(HoldCode.DRIFT, "y")),
    profit=Decimal("0.00000001"),
    profit_asset="USDT",
    last_event_age=1.5,
    heard_age=0.25,
    key=KeyFacts(drift=(Drift(DriftKind.RIGHT_ADDED, "x", "margin"),)),
)
# Prometheus, "Exposition formats": name, labels with escapes, a number.
LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\+Inf|-?[0-9.]+(?:e[+-]?[0-9]+)?)')


def reading(**more: Any) -> Reading:
    facts: dict[str, Any] = {
        "account": "default",
        "version": "1",
        "facts": FACTS,
        "key_age": 5.0,
        "rights_age": 61.5,
        "weight": 42,
        "incidents": 0,
        "process": (1 << 20, 0.5, 1.7e9),
    }
    return Reading(**{**facts, **more})


def samples(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            assert LINE.fullmatch(line), line
            name, _space, value = line.rpartition(" ")
            assert name not in found, "no series twice"
            found[name] = value
    return found


def test_every_metric_is_told_in_prometheus_format() -> None:
    text = exposition(reading(), Meter())
    found = samples(text)
    assert found['fortctl_robot_realised_profit{account="default",asset="USDT"}'] == "0.00000001"
    assert found['fortctl_robot_info{account="default",version="1",symbol="BTC\\"US\\\\DT\\n"}'] == "1"
    states = {name: value for name, value in found.items() if name.startswith("fortctl_robot_state")}
    assert len(states) == len(STATES) and sum(map(int, states.values())) == 1
    assert found['fortctl_robot_hold_reasons{account="default"}'] == "2"
    assert found['fortctl_robot_key_drift{account="default",kind="right_added"}'] == "1"
    assert found['fortctl_robot_key_drift{account="default",kind="ip_list_lifted"}'] == "0"
    assert found['fortctl_robot_key_rights_age_seconds{account="default"}'] == "61.5"
    for family in FAMILIES:
        assert f"# TYPE {family.full_name} {family.kind}\n" in text and f"# HELP {family.full_name} " in text
        assert any(name.startswith(family.full_name) for name in found), family


def test_what_is_not_known_is_absent_and_not_zero() -> None:
    found = samples(
        exposition(
            reading(facts=FACTS._replace(last_event_age=None), key_age=None, rights_age=None, weight=None), Meter()
        )
    )
    assert not [name for name in found if re.search("key_age|rights_age|last_event|weight", name)]


def test_a_metered_journal_counts_what_was_written_and_how_long_it_took() -> None:
    written: list[Any] = []
    times = iter([0.0, 0.0003, 1.0, 1.0, 2.0, 9.0])

    class Journal:
        def append(self, events: Any) -> None:
            written.extend(events)
            if len(written) > 5:
                raise OSError("disk full")

        def owns(self) -> bool:
            return True

    meter = Meter()
    journal = MeteredJournal(Journal(), meter, lambda: next(times))
    fill = FillRecorded("x", 1, Decimal(1), Decimal(1), Decimal(1), Decimal(0), "BTC", 0)
    journal.append([fill, fill])
    journal.append([])
    journal.append([fill, Released()])
    assert journal.owns() is True and len(written) == 4
    with pytest.raises(OSError, match="full"):
        MeteredJournal(Journal(), meter, lambda: 0.0).append([fill, fill])
    found = samples(exposition(reading(), meter))
    assert found['fortctl_robot_fills_total{account="default"}'] == "3", "what was not written is not counted"
    assert found['fortctl_robot_journal_append_seconds_bucket{account="default",le="0.0005"}'] == "2"
    assert found['fortctl_robot_journal_append_seconds_bucket{account="default",le="1"}'] == "2"
    assert found['fortctl_robot_journal_append_seconds_bucket{account="default",le="+Inf"}'] == "3"
    assert float(found['fortctl_robot_journal_append_seconds_sum{account="default"}']) == pytest.approx(7.0003)


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


async def test_the_endpoint_answers_one_page_and_survives_every_other_request() -> None:
    endpoint = MetricsServer(lambda: "fortctl_robot_x 1\n", logging.getLogger("test.metrics"))
    await endpoint.move(None)
    assert endpoint.port is None, "off by default"
    await endpoint.move(Address("127.0.0.1", 0))
    port = endpoint.port
    assert port is not None
    good = await ask(port, b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert good.startswith(b"HTTP/1.1 200 OK\r\n") and good.endswith(b"\r\n\r\nfortctl_robot_x 1\n")
    assert (await ask(port, b"HEAD /metrics HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\n")
    for request, status in (
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
    ):
        assert (await ask(port, request)).split(b" ")[1] == status
    assert await ask(port, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n") == b""
    await endpoint.close()
    with pytest.raises(OSError, match=r"."):
        await ask(port, b"")


def named(text: str) -> set[str]:
    """Return the metrics that queries name."""
    found = set(re.findall(r"\b(?:fortctl_robot|process)_[a-z_]+", text))
    return {name.removesuffix("_bucket") for name in found}


def test_dashboard_and_alerts_name_only_what_is_exported() -> None:
    exported = {family.full_name for family in FAMILIES}
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert queries and all(named(query) for query in queries)
    assert named(json.dumps(dashboard)) <= exported
    rules = [line.strip() for line in ALERTS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert named("\n".join(rules)) <= exported
    states = set(re.findall(r'state="([a-z_]+)"', "\n".join(rules)))
    assert states <= {*STATES, "open", "held"}
    shown = named(json.dumps(dashboard)) | named("\n".join(rules))
    assert shown == exported, "and what is exported is looked at"


def test_prometheus_accepts_metrics_and_alerts(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed here")
    rules = subprocess.run([promtool, "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert rules.returncode == 0, rules.stdout + rules.stderr
    text = exposition(reading(), Meter()).encode()
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_a_robot_is_asked_over_http_and_the_address_changes_with_the_setting(running: Shell) -> None:
    assert running.status()["pid"], "it runs since it took its key"
    port = free_port()
    assert running.ok("config", "set", "metrics.listen", str(port))["robots"] == ["default"]
    found = samples(fetch(port))
    assert found['fortctl_robot_state{account="default",state="stopped"}'] == "1"
    assert float(found['fortctl_robot_key_age_seconds{account="default"}']) >= 0
    assert int(found['fortctl_robot_request_weight_used{account="default"}']) > 0
    assert int(found['process_resident_memory_bytes{account="default"}']) > 1 << 20


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


def fetch(port: int) -> str:
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            assert time.monotonic() < deadline, "nobody answers"
            time.sleep(0.05)
