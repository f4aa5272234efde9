"""The user events of orders: one ``executionReport`` for each change, one position event at the end of a command."""

from __future__ import annotations

from fortctl.paper.engine import user_events
from fortctl.paper.engine.orders import PaperOrder
from fortctl.paper.engine.state import ExchangeState, Listeners, Row


class OrderReports:
    """Marks orders as changed and reports them to the listener.

    Args:
        state: the exchange.
        listeners: ``on_user_event`` receives the events.
    """

    def __init__(self, state: ExchangeState, listeners: Listeners) -> None:
        self._state = state
        self._listeners = listeners
        # account → assets that the next position event has to state; a dict keeps their order
        self._touched: dict[str, dict[str, None]] = {}

    def mark(self, order: PaperOrder) -> None:
        """Mark an order and its account as changed."""
        symbol = self._state.symbols[order.symbol]
        self._state.changed |= {("order", str(order.id)), ("account", order.account)}
        self.touch(order.account, symbol.base)
        self.touch(order.account, symbol.quote)

    @property
    def any_touched(self) -> bool:
        """Whether a position has changed that no event has reported yet."""
        return bool(self._touched)

    def touch(self, account: str, asset: str) -> None:
        """Have the next position event of an account state an asset."""
        self._touched.setdefault(account, {})[asset] = None

    def report(
        self,
        order: PaperOrder,
        kind: str,
        now: int,
        *,
        fill: Row | None = None,
        cancel_id: str = "",
        reason: str = "NONE",
        prevented: Row | None = None,
    ) -> None:
        """Send an ``executionReport``; the arguments are those of :func:`user_events.execution_report`."""
        state = self._state
        number, state.next_execution = state.next_execution, state.next_execution + 1
        event = user_events.execution_report(
            order, kind, now, number, fill=fill, cancel_id=cancel_id, reason=reason, prevented=prevented
        )
        self._listeners.on_user_event(order.account, "order", event)

    def report_list(self, account: str, event: Row) -> None:
        """Send a ``listStatus``."""
        self._listeners.on_user_event(account, "list", event)

    def send_positions(self, now: int) -> set[str]:
        """Send the position of each account whose orders changed; return the names of these accounts."""
        touched, self._touched = self._touched, {}
        for name, assets in touched.items():
            position = user_events.position(self._state.accounts[name], assets, now)
            self._listeners.on_user_event(name, "position", position)
        return set(touched)
