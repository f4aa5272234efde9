"""Which calls, parameters and refusals the foreign clients met at the paper exchange: judged, and as a table."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from fortctl.paper.api.registry import CALLS, METHODS

BEGIN, END = "<!-- the table below is written by make compat-table -->", "<!-- end of the table -->"
SESSIONS = (
    *("session.logon", "session.status", "session.logout", "session.subscriptions", "userDataStream.subscribe"),
    *("userDataStream.subscribe.signature", "userDataStream.unsubscribe"),
)
# What stands here so that clients may load their markets, or beyond the official SDK.
BESIDE = {
    ("GET", "/fapi/v1/exchangeInfo"),
    ("GET", "/dapi/v1/exchangeInfo"),
    ("GET", "/sapi/v1/margin/allPairs"),
    ("GET", "/sapi/v1/margin/isolated/allPairs"),
    ("GET", "/sapi/v1/bnbBurn"),
    ("POST", "/sapi/v1/bnbBurn"),
    ("POST", "/sapi/v2/sub-account/subAccountApi"),
}
REFUSED = {
    "/api/v3/sor/order": "refused as for a symbol without smart order routing",
    "/api/v3/sor/order/test": "refused as for a symbol without smart order routing",
    "/api/v3/orderList/opo": "refused as for a symbol with `opoAllowed` false",
    "/api/v3/orderList/opoco": "refused as for a symbol with `opoAllowed` false",
    "/api/v3/referencePrice": "refused as for a symbol without a reference price",
    "/api/v3/referencePrice/calculation": "refused as for a symbol without a reference price",
    "/api/v3/historicalBlockTrades": "always empty",
    "/api/v3/myAllocations": "always empty",
    "/api/v3/executionRules": "no symbol has any",
    "/api/v3/myFilters": "nothing beyond exchangeInfo",
}


class Met:
    """What was seen of one call or method."""

    def __init__(self) -> None:
        self.times = 0
        self.parameters: set[str] = set()
        self.codes: set[int] = set()


def read(folder: Path) -> dict[str, Met]:
    """Return what the request logs of a folder tell, by ``METHOD path`` or ``WS method``."""
    met: dict[str, Met] = defaultdict(Met)
    for path in folder.glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            entry: dict[str, Any] = json.loads(line)
            name = f"WS {entry['method']}" if entry["via"] == "ws" else f"{entry['method']} {entry['path']}"
            one = met[name]
            one.times += 1
            one.parameters |= set(entry.get("query") or {}) - {"timestamp", "recvWindow", "returnRateLimits"}
            if entry.get("code"):
                one.codes.add(entry["code"])
    return met


def judge(folder: Path, document: Path, *, write: bool) -> list[str]:
    """Return what no client called; with ``write`` renew the table of a document."""
    met = read(folder)
    wanted = [f"{method} {path}" for method, path in CALLS if (method, path) not in BESIDE]
    wanted += [f"WS {method}" for method in (*METHODS, *SESSIONS)]
    missing = [name for name in wanted if name not in met]
    if write:
        text = document.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
        document.write_text(f"{before}{BEGIN}\n\n{table(met)}\n{END}{after}", encoding="utf-8")
    return missing


def table(met: dict[str, Met]) -> str:
    """Return the table in Markdown."""
    lines = ["| call | parameters used by clients | refusals seen | remark |", "| --- | --- | --- | --- |"]
    for route in CALLS:
        name = " ".join(route)
        remark = REFUSED.get(route[1], "for clients that ask on loading markets" if route in BESIDE else "")
        lines.append(_row(name, met.get(name), remark))
    for method in (*METHODS, *SESSIONS):
        remark = REFUSED.get(METHODS[method][1], "") if method in METHODS else ""
        lines.append(_row(f"WS {method}", met.get(f"WS {method}"), remark))
    return "\n".join(lines)


def _row(name: str, met: Met | None, remark: str) -> str:
    found = met or Met()
    parameters = ", ".join(sorted(found.parameters)) or "–"
    codes = ", ".join(str(code) for code in sorted(found.codes, reverse=True)) or "–"
    return f"| `{name}` | {parameters} | {codes} | {remark} |"
