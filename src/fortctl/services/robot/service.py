"""Steer and watch the robot of one account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fortctl.errors import (
    ConflictError,
    FortctlError,
    KeyRejectedError,
    NotFoundError,
    RobotTimeoutError,
)
from fortctl.mailbox.payloads import ConfigureRobot, DrainCycles, ResumeTrading, StartTrading, StopTrading
from fortctl.mailbox.receipts import Reconfigured, TradingStopped
from fortctl.services.exchange_errors import to_command_error
from fortctl.services.robot.client import ANSWER_WITHIN_S

if TYPE_CHECKING:
    from fortctl.ports import Clock
    from fortctl.services.robot.client import RobotClient
    from fortctl.services.robot.status import RobotReport, RobotStatusReader

STATUS_POLL_S = 0.1


def cycles_text(cycles: int) -> str:
    return f"{cycles} cycle{'s' if cycles != 1 else ''}"


def _configured(status: RobotReport) -> RobotReport:
    if status.symbol is None:
        raise ConflictError(
            "the robot is not configured",
            hint="'fortctl robot configure' says what to trade",
            details={"config": {}},
        )
    return status


class RobotService:
    """Commands to the robot.

    Args:
        control: the line to the robot.
        watch: looks at it.
        clock: wall and monotonic clock.
        sleep: waits between looks.
    """

    def __init__(
        self, client: RobotClient, status_reader: RobotStatusReader, clock: Clock, sleep: Callable[[float], None]
    ) -> None:
        self._client = client
        self._status_reader = status_reader
        self._clock = clock
        self._sleep = sleep

    def start(self) -> RobotReport:
        """Start trading.

        Raises:
            ConflictError: it runs already, is latched or not configured.
            NotFoundError: it has no key.
        """
        self._client.ensure_running()
        status = self._status_reader.status()
        if status.state == "running":
            raise ConflictError(
                "the robot is running already", hint="see 'fortctl robot status'", details={"state": "running"}
            )
        _configured(status)
        card = self._client.card()
        if card is None or card.key is None:
            raise NotFoundError("the robot has no key", hint="'fortctl keys add --role robot' gives it one")
        self._client.execute(StartTrading())
        return self.await_reconciled()

    def drain(self, timeout_s: float, progress: Callable[[RobotReport], None]) -> tuple[RobotReport, bool]:
        """Finish the open cycles, start no new ones; wait until the last is closed.

        Returns:
            The status at the end, and whether anything changed.

        Raises:
            ConflictError: it is not configured, or somebody stopped it meanwhile.
            RobotTimeoutError: not done in time; the robot continues to drain.
        """
        self._client.ensure_running()
        # What a crash or 'stop --now' has left open is drained, too.
        status = _configured(self._status_reader.status())
        if status.drained:
            return status, False
        self._client.execute(DrainCycles())
        deadline = self._clock.monotonic() + timeout_s
        while True:
            status = self._status_reader.status()
            if status.drained:
                return status, True
            left = status.cycles_open
            if status.state == "stopped":
                raise ConflictError(
                    f"the robot was stopped before it had drained: {cycles_text(left)}, {status.orders_open} orders",
                    hint="'fortctl robot stop --drain' drains on",
                    details={"state": "stopped", "cycles_open": left},
                    data={"robot": status.document},
                )
            progress(status)
            if self._clock.monotonic() >= deadline:
                raise RobotTimeoutError(
                    f"still draining: {cycles_text(left)}",
                    hint="the robot keeps draining: wait with 'robot stop --drain', or end it with 'robot stop --now'",
                    details={"cycles_open": left},
                    data={"robot": status.document},
                )
            self._sleep(STATUS_POLL_S)

    def stop_now(self, *, cancel_orders: bool) -> tuple[RobotReport, TradingStopped, bool]:
        """Stop at once; say exactly which orders were cancelled and which stay at the exchange.

        Raises:
            KeyRejectedError, NotFoundError, ExchangeUnreachableError, ExchangeBusyError, ClockSkewError: the robot has
                stopped, but not every order could be cancelled; ``data`` says what is left.
        """
        self._client.ensure_running()
        was = _configured(self._status_reader.status())
        status, stopped, error = self.stop_trading(cancel_orders=cancel_orders)
        if error is not None:
            raise error
        return status, stopped, was.state != "stopped" or bool(stopped.cancelled)

    def stop_trading(self, *, cancel_orders: bool) -> tuple[RobotReport, TradingStopped, FortctlError | None]:
        """Have it stop at once, whatever it is at.

        Returns:
            The status, what the robot reports of its orders, and the error (as :meth:`stop_now` raises it) if not every
            order could be cancelled; None where all were, or none was to be.
        """
        stopped = TradingStopped.from_json(self._client.execute(StopTrading(cancel_orders)).data)
        status = self._status_reader.status()
        if not cancel_orders or not (stopped.orders_left or stopped.in_doubt):
            return status, stopped, None
        error = _not_cancelled(stopped, status)
        error.data = {"robot": status.document, **stopped.orders_json()}
        return status, stopped, error

    def resume(self) -> RobotReport:
        """Lift the hold, after a person checked its reasons. Raises ``ConflictError`` if it stays, or there is none."""
        self._client.execute(ResumeTrading())
        status = self.await_reconciled()
        if status.state == "held":
            raise ConflictError(
                f"the robot stays held: {status.reason or 'see its status'}",
                hint="see 'fortctl robot status': each reason says what it is about",
                details={"state": "held", "reasons": status.document.get("reasons", [])},
                data={"robot": status.document},
            )
        return status

    def configure(self, settings: Mapping[str, Any]) -> tuple[RobotReport, bool, tuple[tuple[str, str], ...]]:
        """Hand the robot its settings; it checks them against the symbol's filters where it can.

        Returns:
            The status, whether anything changed, and warnings (code, message).
        """
        report = Reconfigured.from_json(self._client.execute(ConfigureRobot(settings)).data)
        return self._status_reader.status(), report.changed, report.warnings

    def await_reconciled(self) -> RobotReport:
        """Return the status once the books agree, or as it is after the time an answer may take."""
        deadline = self._clock.monotonic() + ANSWER_WITHIN_S
        while True:
            status = self._status_reader.status()
            if status.books != "stale" or self._clock.monotonic() >= deadline:
                return status
            self._sleep(STATUS_POLL_S / 5)


def _not_cancelled(stopped: TradingStopped, status: RobotReport) -> FortctlError:
    left, doubted = len(stopped.orders_left), len(stopped.in_doubt)
    what = f"the robot stands still, but {left} of its orders stay at the exchange, and {doubted} are in doubt"
    by_hand = "cancel them on Binance's page"
    if stopped.key == "lost":
        hint = f"{by_hand}, or give the robot a key that is accepted ('fortctl keys change --role robot')"
        return KeyRejectedError(
            f"the exchange does not accept the key: {what}", hint=hint, details={"reason": status.lost_reason}
        )
    if stopped.key == "none":
        return NotFoundError(f"the robot has no key: {what}", hint=f"{by_hand}, or 'fortctl keys add --role robot'")
    if stopped.fault is not None:
        return to_command_error(stopped.fault, what)
    return ConflictError(what, hint="try again: 'fortctl robot stop --now --cancel-orders'")
