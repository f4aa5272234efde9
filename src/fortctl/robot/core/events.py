"""Events, which the journal keeps, and intents, which a strategy plans. Frozen; pure.

An event is a fact; replaying all of them in order gives the robot's book again. To add a field to an event, give it a
default: older journals do not have it. ``kind`` and field names are stored, so they never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, ClassVar, Self

from fortctl.model import Drift, KeyRights
from fortctl.robot.core.foreign_activity import ForeignActivity
from fortctl.robot.core.hold_reasons import HoldReason, read_sentence

# A field's type is its annotation's text.
_DECIMAL_TYPES = ("Decimal", "Decimal | None")


@dataclass(frozen=True)
class Event:
    """Base of all events; ``kind`` names it in the journal."""

    kind: ClassVar[str] = ""

    def as_json(self) -> dict[str, Any]:
        """Return what the journal stores: fields by name, decimals as text."""
        # Not asdict(): it copies every value, and each write to the journal waits for it.
        return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read what :meth:`as_json` wrote. Raises ``KeyError``, ``TypeError``, ``ArithmeticError``."""
        values = {}
        for part in fields(cls):
            if part.name in body:
                value = body[part.name]
                is_decimal = part.type in _DECIMAL_TYPES and value is not None
                values[part.name] = Decimal(value) if is_decimal else value
        return cls(**values)


@dataclass(frozen=True)
class Configured(Event):
    """New settings, as :meth:`Settings.as_json` writes them."""

    kind: ClassVar[str] = "configured"
    settings: dict[str, Any]


@dataclass(frozen=True)
class AssetsNamed(Event):
    """The symbol's assets, as the exchange names them (needed to read commissions)."""

    kind: ClassVar[str] = "assets_named"
    base: str
    quote: str


@dataclass(frozen=True)
class ModeChanged(Event):
    """The trading mode changed to ``stopped``, ``running`` or ``draining``; the journal stores it as ``wish``."""

    kind: ClassVar[str] = "wished"
    mode: str
    reason: str
    at: int

    def as_json(self) -> dict[str, Any]:
        return {"wish": self.mode, "reason": self.reason, "at": self.at}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> ModeChanged:
        return cls(body["wish"], body["reason"], body["at"])


@dataclass(frozen=True)
class Anchored(Event):
    """The grid was laid: level k lies k steps below this price."""

    kind: ClassVar[str] = "anchored"
    price: Decimal


@dataclass(frozen=True)
class Trailed(Event):
    """The lowest unfilled level moved to the top."""

    kind: ClassVar[str] = "trailed"
    dropped: int
    added: int


@dataclass(frozen=True)
class OrderIntended(Event):
    """An order is about to leave; ``attempt`` counts the tries of this leg of the cycle.

    A buy that names ``sell_price`` makes its cycle's first sell durable too: attempt 1, at that price, for what the buy
    executed less commission in base, rounded down to ``sell_step``; valid once the buy is finished. That sell may
    leave before its own event is written (robot.md, rule 1).

    Attributes:
        dust: base quantity of the dust pool that this sell takes along.
        at: the request's timestamp (exchange clock, ms).
        sell_price: of the first sell that is promised with this buy; 0 where none is (older journals).
        sell_step: what its quantity is rounded down to.
    """

    kind: ClassVar[str] = "intended"
    cycle: int
    level: int
    leg: str
    attempt: int
    client_order_id: str
    price: Decimal
    quantity: Decimal
    dust: Decimal
    at: int
    sell_price: Decimal = Decimal(0)
    sell_step: Decimal = Decimal(0)


@dataclass(frozen=True)
class OrderStatusReported(Event):
    """The exchange reported an order's status and how much of it is executed in total."""

    kind: ClassVar[str] = "told"
    client_order_id: str
    order_id: int
    status: str
    executed: Decimal


@dataclass(frozen=True)
class OrderNotFound(Event):
    """An order was refused, or is proved never to have been placed."""

    kind: ClassVar[str] = "absent"
    client_order_id: str
    why: str


@dataclass(frozen=True)
class FillRecorded(Event):
    """One execution of one of our orders; ``trade_id`` is booked once."""

    kind: ClassVar[str] = "booked"
    client_order_id: str
    trade_id: int
    price: Decimal
    quantity: Decimal
    quote: Decimal
    commission: Decimal
    commission_asset: str
    at: int


@dataclass(frozen=True)
class DustLeft(Event):
    """A cycle bought less than can be sold alone; the rest goes to the dust pool."""

    kind: ClassVar[str] = "dust_left"
    cycle: int


@dataclass(frozen=True)
class StrategyNote(Event):
    """A strategy's memory of one name; an empty value forgets it."""

    kind: ClassVar[str] = "noted"
    name: str
    value: str


@dataclass(frozen=True)
class AssetPriced(Event):
    """One unit of an asset is worth so much quote; commissions charged in it are valued by this from now on."""

    kind: ClassVar[str] = "priced"
    asset: str
    price: Decimal
    at: int


@dataclass(frozen=True)
class Held(Event):
    """The robot waits for a person, for these reasons.

    Attributes:
        at: when (this host's clock, ms); 0 in journals of before 0.1.0.
    """

    kind: ClassVar[str] = "held"
    reasons: tuple[HoldReason, ...]
    at: int = 0

    def as_json(self) -> dict[str, Any]:
        # The sentences are what journals of before 0.1.0 hold, and what a person reads there.
        return {
            "at": self.at,
            "reasons": [str(reason) for reason in self.reasons],
            "typed": [reason.as_json() for reason in self.reasons],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Held:
        """Read what :meth:`as_json` wrote, or the sentences alone of an older journal."""
        if "typed" in body:
            return cls(tuple(HoldReason.from_json(kept) for kept in body["typed"]), int(body.get("at", 0)))
        return cls(tuple(read_sentence(sentence) for sentence in body["reasons"]))


@dataclass(frozen=True)
class Released(Event):
    """A person has released the robot; nothing holds it any more.

    Attributes:
        at: when (this host's clock, ms); 0 in journals of before 0.1.0.
    """

    kind: ClassVar[str] = "released"
    at: int = 0


@dataclass(frozen=True)
class KeyStatusChanged(Event):
    """The key was set, lost or forgotten; a loss comes with the price then and the exchange's answer."""

    kind: ClassVar[str] = "key_marked"
    what: str
    at: int
    price: str = ""
    code: int | None = None
    reason: str = ""
    certainty: str = ""
    why: str = ""


@dataclass(frozen=True)
class KeyRightsAccepted(Event):
    """A person accepted what the key may do: they entered the key, or resumed the robot after a drift.

    Attributes:
        fingerprint: names the key.
        at: milliseconds since the epoch.
    """

    kind: ClassVar[str] = "rights_accepted"
    fingerprint: str
    rights: KeyRights
    at: int

    def as_json(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "rights": self.rights.to_json(), "at": self.at}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> KeyRightsAccepted:
        return cls(body["fingerprint"], KeyRights.from_json(body["rights"]), body["at"])


@dataclass(frozen=True)
class KeyDriftReported(Event):
    """What the key may do differs, from now on, in these points from what a person accepted; none: no more.

    Attributes:
        rights: what the exchange said, with which the accepted rights were compared.
        at: milliseconds since the epoch.
    """

    kind: ClassVar[str] = "key_drifted"
    drift: tuple[Drift, ...]
    rights: KeyRights
    at: int

    def as_json(self) -> dict[str, Any]:
        return {
            "drift": [drift.to_json() for drift in self.drift],
            "rights": self.rights.to_json(),
            "at": self.at,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> KeyDriftReported:
        drift = tuple(Drift.from_json(kept) for kept in body["drift"])
        return cls(drift, KeyRights.from_json(body["rights"]), body["at"])


@dataclass(frozen=True)
class ForeignActivityReported(Event):
    """Somebody else did something on the account."""

    kind: ClassVar[str] = "foreign"
    activity: ForeignActivity

    def as_json(self) -> dict[str, Any]:
        return self.activity.to_json()

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> ForeignActivityReported:
        return cls(ForeignActivity.from_json(body))


_KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        *(Configured, AssetsNamed, ModeChanged, Anchored, Trailed, OrderIntended, OrderStatusReported),
        *(OrderNotFound, FillRecorded, DustLeft, StrategyNote, AssetPriced, Held, Released, KeyStatusChanged),
        *(KeyRightsAccepted, KeyDriftReported, ForeignActivityReported),
    )
}


def event_from_json(kind: str, body: Mapping[str, Any]) -> Event:
    """Return the event that :meth:`Event.as_json` wrote under a kind. Raises ``KeyError`` for an unknown kind."""
    return _KINDS[kind].from_json(body)


@dataclass(frozen=True)
class Place:
    """An order to place. ``cycle`` is None for a buy that begins a new one; ``sell_price`` promises its first sell."""

    cycle: int | None
    level: int
    leg: str
    price: Decimal
    quantity: Decimal
    dust: Decimal = Decimal(0)
    sell_price: Decimal = Decimal(0)


@dataclass(frozen=True)
class Cancel:
    """An order to cancel."""

    client_order_id: str


Intent = Place | Cancel
