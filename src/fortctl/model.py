"""The vocabulary shared by every room: frozen values, no behaviour beyond arithmetic.

Money and quantities are ``Decimal``; times are integer milliseconds since the Unix epoch unless a name ends otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from fortctl.secret import Secret


class Role(StrEnum):
    SITE = "site"
    ROBOT = "robot"


class KeyType(StrEnum):
    HMAC = "hmac"
    ED25519 = "ed25519"
    RSA = "rsa"


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


class OrderType(StrEnum):
    LIMIT = "LIMIT"
    LIMIT_MAKER = "LIMIT_MAKER"
    MARKET = "MARKET"


class OrderStatus(StrEnum):
    """Order status (Binance spot ``enums.md``)."""

    NEW = "NEW"
    PENDING_NEW = "PENDING_NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    PENDING_CANCEL = "PENDING_CANCEL"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"

    @property
    def is_open(self) -> bool:
        return self in _OPEN


_OPEN = frozenset({OrderStatus.NEW, OrderStatus.PENDING_NEW, OrderStatus.PARTIALLY_FILLED, OrderStatus.PENDING_CANCEL})


@dataclass(frozen=True)
class KeyPair:
    """A named API key with the half that signs.

    Attributes:
        name: the name given to the key in the Binance account.
        type: HMAC, Ed25519 or RSA.
        api_key: the public identifier, treated as a secret all the same.
        secret: the HMAC secret key, or the private key as PEM.
    """

    name: str
    type: KeyType
    api_key: Secret
    secret: Secret


@dataclass(frozen=True)
class KeyRestrictions:
    """What ``GET /sapi/v1/account/apiRestrictions`` says of the calling key."""

    ip_restricted: bool
    reading: bool
    spot_trading: bool
    withdrawals: bool
    internal_transfer: bool
    universal_transfer: bool
    margin: bool
    futures: bool
    options: bool
    portfolio_margin: bool = False
    fix_trade: bool = False
    fix_read: bool = False
    created_at: int | None = None
    trading_expires_at: int | None = None

    def permissions(self) -> tuple[str, ...]:
        """Return the names of the rights that are ticked, in the order of Binance's page."""
        return tuple(name for name in PERMISSIONS if getattr(self, name))


# The names used by --allow, `paper keys create --permissions` and every JSON output.
PERMISSIONS: tuple[str, ...] = (
    "reading",
    "spot_trading",
    "withdrawals",
    "internal_transfer",
    "universal_transfer",
    "margin",
    "futures",
    "options",
    "portfolio_margin",
    "fix_trade",
    "fix_read",
)


@dataclass(frozen=True)
class PriceRange:
    """Lowest, highest and last price of a span of time."""

    lowest: Decimal
    highest: Decimal
    last: Decimal


@dataclass(frozen=True)
class SymbolRules:
    """The filters of one symbol that the robot must respect (Binance ``filters.md``). A bound of 0 is off.

    Attributes:
        told_at: the exchange's time (ms) as it said when it told them; 0 where it did not.
    """

    symbol: str
    base: str
    quote: str
    status: str
    tick_size: Decimal
    min_price: Decimal
    max_price: Decimal
    step_size: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    min_notional: Decimal
    max_notional: Decimal = Decimal(0)
    bid_multiplier_up: Decimal = Decimal(0)
    bid_multiplier_down: Decimal = Decimal(0)
    ask_multiplier_up: Decimal = Decimal(0)
    ask_multiplier_down: Decimal = Decimal(0)
    max_orders: int = 0
    order_types: tuple[str, ...] = ()
    stp_modes: tuple[str, ...] = ()
    told_at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Balance:
    asset: str
    free: Decimal
    locked: Decimal


@dataclass(frozen=True)
class AccountState:
    """What ``GET /api/v3/account`` says: rates are fractions (0.001 = 10 bps)."""

    uid: int
    can_trade: bool
    maker_rate: Decimal
    taker_rate: Decimal
    balances: tuple[Balance, ...]

    def balance(self, asset: str) -> Balance:
        for balance in self.balances:
            if balance.asset == asset:
                return balance
        return Balance(asset, Decimal(0), Decimal(0))


@dataclass(frozen=True)
class OrderRequest:
    """An order as the robot wants it, already rounded to the symbol's filters."""

    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    price: Decimal
    client_order_id: str
    self_trade_prevention: str | None = None


@dataclass(frozen=True)
class OrderState:
    """An order as the exchange tells it."""

    symbol: str
    order_id: int
    client_order_id: str
    side: Side
    type: str
    price: Decimal
    quantity: Decimal
    executed: Decimal
    quote_executed: Decimal
    status: OrderStatus
    time: int
    update_time: int


@dataclass(frozen=True)
class Fill:
    """One execution of one of our orders. ``trade_id`` is unique within a symbol."""

    symbol: str
    trade_id: int
    order_id: int
    side: Side
    price: Decimal
    quantity: Decimal
    quote: Decimal
    commission: Decimal
    commission_asset: str
    time: int
    is_maker: bool
    client_order_id: str = ""


@dataclass(frozen=True)
class PublicTrade:
    """A trade of the public market stream."""

    symbol: str
    price: Decimal
    quantity: Decimal
    time: int


@dataclass(frozen=True)
class OrderUpdate:
    """A user-stream ``executionReport``: the order now, and the fill that caused it, if any."""

    order: OrderState
    fill: Fill | None
    execution_type: str
    event_time: int


@dataclass(frozen=True)
class BalanceUpdate:
    """A user-stream ``outboundAccountPosition``: assets that may have changed."""

    balances: tuple[Balance, ...]
    event_time: int


@dataclass(frozen=True)
class StreamUp:
    """The stream is (again) subscribed: everything before it may have been missed."""


@dataclass(frozen=True)
class StreamDown:
    """The stream was cut or refused. ``code`` is Binance's error code where it said one."""

    reason: str
    code: int | None = None


UserEvent = OrderUpdate | BalanceUpdate | StreamUp | StreamDown
MarketEvent = PublicTrade | StreamUp | StreamDown


@dataclass(frozen=True)
class PolicyVerdict:
    """How a key's permissions compare with its role.

    Attributes:
        ok: nothing is missing and nothing is too much.
        missing: rights that the role needs and the key lacks.
        excess: rights that the key has and the role forbids (less those that ``--allow`` named).
        warnings: ``(code, message)`` pairs, for example an unrestricted IP list.
        lapsed: the trading right is missing because its time is over.
    """

    ok: bool
    missing: tuple[str, ...] = ()
    excess: tuple[str, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    lapsed: bool = False


@dataclass(frozen=True)
class PendingPair:
    """A key pair that was made here and whose API key is still to come.

    Attributes:
        id: names it among others that were made.
        secret: the private half (PEM); it never leaves the vault that it lies in.
        public: the public half (PEM), to be registered at the exchange.
        made_at: milliseconds since the epoch.
    """

    id: str
    type: KeyType
    secret: Secret
    public: str
    made_at: int


@dataclass(frozen=True)
class KeyVerdict:
    """What asking the exchange about a key has shown.

    Attributes:
        accepted: the exchange accepts the key for signed reading.
        reason: ``ok``, or why not (``unknown_key``, ``wrong_secret``, ``malformed_key``, ``refused``,
            ``other_account``, ``shared_between_roles``, ``policy`` …).
        restrictions: the key's rights, where the target tells them.
        policy: the comparison with the role, where the rights are known.
        uid: the account's number at the exchange, where the key was accepted.
        latency_ms: round trip of the signed call.
        clock_skew_ms: the exchange's clock less ours.
        can_trade: the account may trade, whatever the key may.
        warnings: ``(code, message)`` pairs, the policy's among them.
    """

    accepted: bool
    reason: str
    restrictions: KeyRestrictions | None = None
    policy: PolicyVerdict | None = None
    uid: int | None = None
    latency_ms: float | None = None
    clock_skew_ms: float | None = None
    exchange_code: int | None = None
    http_status: int | None = None
    exchange_message: str = ""
    details: dict[str, str] = field(default_factory=dict)
    can_trade: bool = True
    warnings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class KeyCard:
    """All of a key that is ever shown (the ``key{…}`` object of the contract)."""

    role: Role
    name: str
    type: KeyType
    fingerprint: str
    tail: str
    status: str
    permissions: tuple[str, ...] = ()
    ip_restricted: bool | None = None
    held_by: tuple[str, ...] = ()
    created_at: int | None = None
    verified_at: int | None = None
    expires_at: int | None = None
    rejected_since: int | None = None
