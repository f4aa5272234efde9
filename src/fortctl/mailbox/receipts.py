"""What the receipt of each kind of command reports (``data``), as frozen values, and their JSON form. No I/O.

The robot writes them with ``to_json``, the operator reads them with ``from_json``. A field that older robots do not
send has a default; a field that is not known here is ignored. The table is in docs/sealed-mailbox.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from fortctl.keys.serialization import KeyCheck, key_card_from_json, key_card_to_json, warnings_from_json
from fortctl.model import KeyCard, KeyRestrictions, RobotOrder
from fortctl.ports import ExchangeError

Warnings = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class CommandReport:
    """The report of one kind of command; most kinds report nothing."""

    def to_json(self) -> dict[str, Any]:
        """Return the receipt's ``data``."""
        return {}


@dataclass(frozen=True)
class KeyDelivered(CommandReport):
    """A delivered key was verified and, unless the robot was to verify it only, stored.

    Attributes:
        key: its card.
        uid: the number of the account at the exchange.
        restrictions: its permissions, where the exchange reports them.
        warnings: ``(code, message)`` pairs.
        unchanged: this key was installed already.
    """

    key: KeyCard
    uid: int
    restrictions: KeyRestrictions | None = None
    warnings: Warnings = ()
    unchanged: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "unchanged": self.unchanged,
            "key": key_card_to_json(self.key),
            "uid": self.uid,
            "restrictions": self.restrictions.to_json() if self.restrictions else None,
            "warnings": [list(pair) for pair in self.warnings],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        restrictions = data.get("restrictions")
        return cls(
            key=key_card_from_json(data["key"]),
            uid=int(data["uid"]),
            restrictions=KeyRestrictions.from_json(restrictions) if restrictions else None,
            warnings=warnings_from_json(data.get("warnings", ())),
            unchanged=bool(data.get("unchanged")),
        )


@dataclass(frozen=True)
class PairWaiting(CommandReport):
    """The key pair that waits with the robot for its API key; both are None if no pair waits.

    Attributes:
        pending_id: names the pair.
        public_key: its public half (PEM).
    """

    pending_id: str | None = None
    public_key: str | None = None

    def to_json(self) -> dict[str, Any]:
        named = {"pending_id": self.pending_id}
        return named if self.public_key is None else {**named, "public_key": self.public_key}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(data.get("pending_id"), data.get("public_key"))


@dataclass(frozen=True)
class KeyForgotten(CommandReport):
    """The robot destroyed its key.

    Attributes:
        fingerprint: the key's.
        orders_left: the robot's orders that stay at the exchange.
    """

    fingerprint: str
    orders_left: tuple[RobotOrder, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "orders_left": [order.to_json() for order in self.orders_left]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(str(data["fingerprint"]), _orders(data))


@dataclass(frozen=True)
class KeyChecked(CommandReport):
    """The robot verified its own key."""

    check: KeyCheck
    warnings: Warnings = ()

    def to_json(self) -> dict[str, Any]:
        return {"result": self.check.to_json(), "warnings": [list(pair) for pair in self.warnings]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(KeyCheck.from_json(data["result"]), warnings_from_json(data.get("warnings", ())))


@dataclass(frozen=True)
class RetiredKey(CommandReport):
    """What became of the key that a rotation replaced.

    Attributes:
        state: ``none`` (the robot keeps no such key), ``dropped``, or a state of
            :class:`fortctl.keys.verification.DeletionStatus`.
        fingerprint, name: of the key.
        code: Binance's error code, if the robot asked.
    """

    state: str
    fingerprint: str = ""
    name: str | None = None
    code: int | None = None

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"state": self.state, "fingerprint": self.fingerprint}
        if self.name is not None:
            data["name"] = self.name
        if self.state not in ("none", "dropped"):
            data["code"] = self.code
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(str(data["state"]), str(data.get("fingerprint") or ""), data.get("name"), data.get("code"))


@dataclass(frozen=True)
class OperatorsChanged(CommandReport):
    """The operators that may command the robot from now on."""

    operators: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"operators": list(self.operators)}


@dataclass(frozen=True)
class Greeting(CommandReport):
    """The robot answers, and reports its state."""

    state: str

    def to_json(self) -> dict[str, Any]:
        return {"state": self.state}


@dataclass(frozen=True)
class TradingStopped(CommandReport):
    """What the robot left when it stopped.

    Attributes:
        cancelled: the orders that it cancelled, by client order id.
        orders_left: its orders that stay at the exchange.
        in_doubt: orders whose outcome is not proved, by client order id.
        unlisted: orders that were cancelled and that the exchange's list of open orders had left out.
        unjournaled: orders with the robot's prefix that were open, and that its journal does not know.
        checked: the exchange was asked; otherwise the orders are those of the journal.
        key: the state of the robot's key (``ok``, ``lost``, ``none`` …).
        fault: why the exchange could not be asked, or did not cancel.
    """

    cancelled: tuple[str, ...] = ()
    orders_left: tuple[RobotOrder, ...] = ()
    in_doubt: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    unjournaled: tuple[RobotOrder, ...] = ()
    checked: bool = True
    key: str | None = None
    fault: ExchangeError | None = None

    def to_json(self) -> dict[str, Any]:
        fault = self.fault.as_json() if self.fault is not None else None
        return {**self.orders_json(), "key": self.key, "fault": fault}

    def orders_json(self) -> dict[str, Any]:
        """Return what ``robot stop --now`` reports of orders."""
        return {
            "cancelled": list(self.cancelled),
            "orders_left": [order.to_json() for order in self.orders_left],
            "in_doubt": list(self.in_doubt),
            "unlisted": list(self.unlisted),
            "unjournaled": [order.to_json() for order in self.unjournaled],
            "checked": self.checked,
        }

    def differences(self) -> Warnings:
        """Return warnings (code, message) where the robot's journal and the exchange's list of open orders differ."""
        warnings: list[tuple[str, str]] = []
        if self.unlisted:
            text = f"the exchange's list of open orders left out orders that were open: {', '.join(self.unlisted)}"
            warnings.append(("ORDERS_UNLISTED", text))
        if self.unjournaled:
            named = ", ".join(f"{order.client_order_id} (order {order.order_id})" for order in self.unjournaled)
            text = f"orders with the robot's prefix were open that its journal does not know: {named}"
            warnings.append(("ORDERS_UNJOURNALED", text))
        return tuple(warnings)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        fault = data.get("fault")
        return cls(
            cancelled=tuple(str(name) for name in data.get("cancelled", ())),
            orders_left=_orders(data),
            in_doubt=tuple(str(name) for name in data.get("in_doubt", ())),
            unlisted=tuple(str(name) for name in data.get("unlisted", ())),
            unjournaled=tuple(RobotOrder.from_json(row) for row in data.get("unjournaled", ())),
            checked=bool(data.get("checked", True)),
            key=data.get("key"),
            fault=ExchangeError.from_json(fault) if fault is not None else None,
        )


@dataclass(frozen=True)
class Reconfigured(CommandReport):
    """The robot accepted its settings.

    Attributes:
        changed: they differ from those before.
        warnings: ``(code, message)`` pairs.
    """

    changed: bool = True
    warnings: Warnings = ()

    def to_json(self) -> dict[str, Any]:
        return {"changed": self.changed, "warnings": [list(pair) for pair in self.warnings]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(bool(data.get("changed", True)), warnings_from_json(data.get("warnings", ())))


def _orders(data: Mapping[str, Any]) -> tuple[RobotOrder, ...]:
    return tuple(RobotOrder.from_json(row) for row in data.get("orders_left", ()))
