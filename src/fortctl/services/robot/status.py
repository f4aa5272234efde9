"""Read the state of a robot without starting a process or unlocking a vault."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fortctl.errors import RobotUnreachableError

if TYPE_CHECKING:
    from fortctl.model import Drift
    from fortctl.ports import Latch, RobotProcess


_NO_DOCUMENT: Mapping[str, Any] = {}


class KeySwap(NamedTuple):
    """How the robot replaced its key while it traded.

    Attributes:
        gap_s: seconds in which no order could leave.
        stream_up: the stream of the new key is up.
    """

    gap_s: float
    stream_up: bool


class PublishedKey(NamedTuple):
    """The robot's key as its card in the mailbox shows it.

    Attributes:
        permissions_at: when the robot last read its permissions (RFC 3339).
        drift: what its permissions became since a person accepted them.
    """

    name: str
    status: str
    permissions_at: str | None = None
    drift: tuple[Drift, ...] = ()

    @classmethod
    def from_json(cls, card: Mapping[str, Any]) -> PublishedKey:
        """Read the card's JSON."""
        rows = card.get("drift") or ()
        return cls(str(card["name"]), str(card["status"]), card.get("permissions_at"), _drift(rows) if rows else ())


def _drift(rows: Sequence[Mapping[str, Any]]) -> tuple[Drift, ...]:
    from fortctl.model import Drift

    return tuple(Drift.from_json(row) for row in rows)


class RobotReport(NamedTuple):
    """A robot's status as its process, its journal or its card in the mailbox reports it.

    Attributes:
        document: the ``robot{…}`` of ``robot status --json``, which results show as it is.
        state, reason: as there.
        since: when it came into this state (RFC 3339).
        orders_open, orders_in_doubt: orders at the exchange, and those whose outcome is not proved.
        cycles_open, cycles_closed: cycles with inventory, and those that ended.
        realised_profit: of those that ended (decimal text).
        books: whether its book agrees with the exchange (``agreed``, ``stale`` …); None where it has no key.
        symbol: what it trades; None where it is not configured.
        price: the last price that it knows.
        exchange_answered_ago_s, market_moved_ago_s: seconds since the exchange answered, and since a trade arrived.
        hold_codes: why it waits for a person.
        pid: its process on this machine; None if it does not run.
        key: its key; None if it has none.
        lost_since, lost_reason: of a key that the exchange no longer accepts.
        key_swap: how it replaced its key last.
    """

    state: str
    reason: str | None = None
    since: str | None = None
    orders_open: int = 0
    orders_in_doubt: int = 0
    cycles_open: int = 0
    cycles_closed: int = 0
    realised_profit: str = "0"
    books: str | None = None
    symbol: str | None = None
    price: str | None = None
    exchange_answered_ago_s: float | None = None
    market_moved_ago_s: float | None = None
    hold_codes: frozenset[str] = frozenset()
    pid: int | None = None
    key: PublishedKey | None = None
    lost_since: str | None = None
    lost_reason: str | None = None
    key_swap: KeySwap | None = None
    document: Mapping[str, Any] = _NO_DOCUMENT

    @classmethod
    def from_json(cls, status: Mapping[str, Any]) -> RobotReport:
        """Read a status; what a robot does not report is empty."""
        key, loss, swap = status.get("key"), status.get("key_loss") or {}, status.get("key_swap")
        cycles, config = status.get("cycles") or {}, status.get("config") or {}
        return cls(
            state=str(status["state"]),
            reason=status.get("reason"),
            since=status.get("since"),
            orders_open=int(status.get("orders_open") or 0),
            orders_in_doubt=int(status.get("orders_in_doubt") or 0),
            cycles_open=int(cycles.get("open") or 0),
            cycles_closed=int(cycles.get("closed") or 0),
            realised_profit=str(status.get("realised_profit") or "0"),
            books=status.get("books"),
            symbol=config.get("symbol"),
            price=status.get("price"),
            exchange_answered_ago_s=status.get("exchange_answered_ago_s"),
            market_moved_ago_s=status.get("market_moved_ago_s"),
            hold_codes=frozenset(str(reason["code"]) for reason in status.get("reasons") or ()),
            pid=status.get("pid"),
            key=PublishedKey.from_json(key) if key else None,
            lost_since=loss.get("since"),
            lost_reason=loss.get("reason"),
            key_swap=KeySwap(float(swap["gap_s"]), bool(swap.get("heard", True))) if swap else None,
            document=status,
        )

    @property
    def drained(self) -> bool:
        """Whether the robot is stopped with nothing left to finish: no order open or in doubt, no inventory."""
        return self.state == "stopped" and not (self.orders_open or self.orders_in_doubt or self.cycles_open)


class RobotStatusReader:
    """Reads one robot.

    Args:
        process: the robot's process on this machine.
        latch: its latch.
        offline: returns the status that the robot's journal holds, for when no robot runs.
        key: returns the robot's key as its card in the mailbox shows it, unchecked, or None.
        report: returns what the robot earned according to its journal; takes the last price if it is known.
    """

    def __init__(
        self,
        process: RobotProcess,
        latch: Latch,
        offline: Callable[[], dict[str, Any]],
        key: Callable[[], Mapping[str, Any] | None],
        report: Callable[[str, str | None], dict[str, Any]],
    ) -> None:
        self._process = process
        self._latch = latch
        self._offline = offline
        self._key = key
        self._report = report

    def status(self) -> RobotReport:
        """Return the robot's status; ``pid`` is None when no robot runs."""
        return RobotReport.from_json(self._status())

    def _status(self) -> dict[str, Any]:
        owner = self._process.owner()
        if owner is not None:
            try:
                status = self._process.query({"op": "status"})
            except RobotUnreachableError as error:
                if self._process.owner() is None:
                    return self._status()
                status = {**self._offline(), "state": "unreachable", "reason": error.message}
            return {**status, "pid": owner.pid, "host": owner.host, "key": self._key()}
        status = {**self._offline(), "pid": None, "host": None, "key": self._key()}
        if self._latch.is_latched():
            status.update(state="latched", reason="panic")
        return status

    def report(self, by: str) -> dict[str, Any]:
        """Return what the robot earned: ``{by, rows[], totals{}}``, by ``cycle``, ``day`` or ``symbol``.

        The inventory is valued at the running robot's last price.
        """
        price = None
        if self._process.owner() is not None:
            with contextlib.suppress(RobotUnreachableError):
                price = self._process.query({"op": "status"}).get("price")
        return self._report(by, price)

    def cycles(self) -> list[dict[str, Any]]:
        """Return ``cycles[]``."""
        if self._process.owner() is not None:
            running: list[dict[str, Any]] = self._process.query({"op": "cycles"})["cycles"]
            return running
        offline: list[dict[str, Any]] = self._offline().get("cycle_list", [])
        return offline
