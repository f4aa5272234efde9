"""What the world can do for fortctl, as Protocols. Services and the robot's runner know these and no adapter.

Every implementation translates the exceptions of its own library: only errors named here (or ``FortctlError``) pass.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from fortctl.model import (
    AccountState,
    Fill,
    KeyRestrictions,
    MarketEvent,
    OrderRequest,
    OrderState,
    SymbolRules,
    UserEvent,
)
from fortctl.secret import Secret


class Outcome(StrEnum):
    """How a refusal or silence of the exchange is to be read. One function decides it: ``exchange.codes.classify``."""

    KEY_REFUSED = "key_refused"  # -2008 -2014 -2015 -1022 401: the key may be lost
    REFUSED = "refused"  # the order or the call is wrong; nothing happened
    ABSENT = "absent"  # -2013, -2011 "Unknown order sent.": absent, or not visible yet
    DUPLICATE = "duplicate"  # -2010 "Duplicate order sent."
    WOULD_TAKE = "would_take"  # -2010 "Order would immediately match and take."
    NO_FUNDS = "no_funds"  # -2010 insufficient balance
    CLOCK = "clock"  # -1021
    BUSY = "busy"  # 429, 418, -1003, -1015: nothing happened, wait
    UNKNOWN = "unknown"  # time-out, 5xx, -1000, -1001, -1006, -1007 (-1008 is verified, then retried)
    UNREACHABLE = "unreachable"  # the request provably never left


class ExchangeFault(Exception):
    """An exchange call that did not succeed.

    Attributes:
        outcome: how to read it.
        code: Binance's code or None.
        http_status: HTTP status or None.
        message: the exchange's text (no secret in it).
        retry_after: seconds, where the exchange said so.
    """

    def __init__(
        self,
        outcome: Outcome,
        message: str,
        *,
        code: int | None = None,
        http_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{outcome.value}: {message}")
        self.outcome = outcome
        self.message = message
        self.code = code
        self.http_status = http_status
        self.retry_after = retry_after


class Clock(Protocol):
    def now_ms(self) -> int:
        """Wall clock, integer milliseconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None: ...


class Exchange(Protocol):
    """One key's view of one Binance account. Every method but ``close`` raises ``ExchangeFault``."""

    async def server_time(self) -> int: ...

    async def symbol_rules(self, symbol: str) -> SymbolRules: ...

    async def last_price(self, symbol: str) -> Any:
        """Return the last trade's price as ``Decimal`` (public, unsigned)."""

    async def account(self) -> AccountState: ...

    async def key_restrictions(self) -> KeyRestrictions: ...

    async def test_order(self, request: OrderRequest) -> None:
        """``POST /api/v3/order/test``: no effect; shows whether the key may trade."""

    async def place(self, request: OrderRequest, *, timestamp: int, recv_window: int) -> OrderState:
        """Place an order. ``timestamp`` (ms) and ``recv_window`` (ms) go out as given (robot.md, rule 5)."""

    async def cancel(self, symbol: str, client_order_id: str) -> OrderState: ...

    async def order(self, symbol: str, client_order_id: str, *, order_id: int | None = None) -> OrderState:
        """Return an order by our name for it, or by the exchange's number where that is given."""

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderState, ...]: ...

    async def all_orders(
        self, symbol: str, *, start_time: int | None = None, from_id: int | None = None
    ) -> tuple[OrderState, ...]:
        """All orders of a symbol, from a time or from an order's number on; paged inside."""

    async def trades(self, symbol: str, *, order_id: int | None = None, from_id: int | None = None) -> tuple[Fill, ...]:
        """All trades from ``from_id`` on, or those of one order; paged inside."""

    def user_events(self) -> AsyncIterator[UserEvent]:
        """The user data stream; reconnects and subscribes again by itself, saying so with StreamDown/StreamUp."""

    def market_events(self, symbol: str) -> AsyncIterator[MarketEvent]:
        """The public trade stream of one symbol; needs no accepted key; reconnects by itself."""

    async def close(self) -> None: ...


@dataclass(frozen=True)
class IssuedKey:
    """A sub-account's key as the exchange's list names it.

    Attributes:
        permissions: the rights ticked, as :data:`fortctl.model.PERMISSIONS` names them.
        created_at: milliseconds since the epoch, or None where the exchange did not say.
    """

    name: str
    api_key: Secret
    permissions: tuple[str, ...] = ()
    created_at: int | None = None


class Issuer(Protocol):
    """Makes and deletes the keys of one sub-account through its master account's key.

    Every method but ``close`` raises ``ExchangeFault``. After ``UNKNOWN`` the caller lists before it believes anything.
    """

    async def create(
        self, name: str, public_key: str, permissions: Collection[str], addresses: Sequence[str]
    ) -> IssuedKey:
        """Make a key of a public half (PEM) made here; rights and IP list are set from its birth.

        Args:
            addresses: the only addresses that the key is accepted from; empty: from any.
        """

    async def listed(self) -> tuple[IssuedKey, ...]:
        """Return every key of the sub-account; paged inside."""

    async def addresses(self, api_key: Secret) -> tuple[str, ...]:
        """Return a key's IP list; empty when it is accepted from any address."""

    async def delete(self, api_key: Secret) -> None:
        """Delete a key at the exchange."""

    async def close(self) -> None: ...


class LatchGuard(Protocol):
    """The panic latch of one robot (robot.md, rule 6)."""

    def is_latched(self) -> bool: ...

    def placing(self) -> AbstractContextManager[bool]:
        """Hold the shared lock while an order's bytes leave; yields False when latched (then place nothing)."""


@dataclass(frozen=True)
class MailboxRow:
    """One command as it lies in the store. ``envelope`` is canonical JSON that the operator signed."""

    account: str
    number: int
    envelope: bytes
    sealed: bytes | None
    signature: bytes
    claimed_at: int | None = None
    finished_at: int | None = None
    result: bytes | None = None
    result_signature: bytes | None = None


class Mailbox(Protocol):
    """The signed command queue of robots; a store of its own. Raises ``FortctlError`` only."""

    def append(self, row: MailboxRow) -> None:
        """Store a command; raises ``Conflict`` when the number is taken."""

    def last_number(self, account: str) -> int: ...

    def pending(self, account: str) -> tuple[MailboxRow, ...]:
        """Rows without a result, oldest first."""

    def row(self, account: str, number: int) -> MailboxRow | None: ...

    def claim(self, account: str, number: int, at: int) -> None: ...

    def finish(self, account: str, number: int, result: bytes, signature: bytes, at: int) -> None:
        """Write the result and erase the sealed payload."""

    def publish_card(self, account: str, body: bytes, signature: bytes, at: int) -> None:
        """Replace the robot's public card (recipient key, key shown, numbers), signed by the robot."""

    def card(self, account: str) -> tuple[bytes, bytes] | None: ...


@dataclass(frozen=True)
class PanicRow:
    """A panic order as it lies in the mailbox; ``answer`` is the robot's, signed."""

    nonce: str
    body: bytes
    signature: bytes
    answer: bytes | None = None
    answer_signature: bytes | None = None


class PanicBoard(Protocol):
    """Where panic orders wait without end. Raises ``FortctlError`` only."""

    def post_panic(self, account: str, nonce: str, body: bytes, signature: bytes) -> None:
        """Leave an order; one that lies there under this nonce already stays, with its answer."""

    def open_panics(self, account: str) -> tuple[PanicRow, ...]:
        """Return the orders without an answer."""

    def panic(self, account: str, nonce: str) -> PanicRow | None: ...

    def answer_panic(self, account: str, nonce: str, answer: bytes, signature: bytes) -> None: ...

    def card(self, account: str) -> tuple[bytes, bytes] | None:
        """Return the robot's card and its signature, or None."""


@dataclass(frozen=True)
class RecordMeta:
    """What is visible of a vault record without unlocking, and is bound to it as associated data."""

    record_id: str
    account: str
    exchange: str
    role: str
    name: str
    type: str
    version: int
    created_at: int
    erasable: bool


@dataclass(frozen=True)
class NewRecord:
    """A record to be written. ``erasable`` records can be destroyed without unlocking.

    Attributes:
        created_at: milliseconds since the epoch.
        purpose: names the erasure key's file (``site``, ``copy``, ``key``, ``recipient`` …).
    """

    record_id: str
    account: str
    exchange: str
    role: str
    name: str
    type: str
    plaintext: Secret
    erasable: bool
    created_at: int
    purpose: str = ""


class VaultPort(Protocol):
    """An unlocked vault. All methods raise VaultLocked / VaultDamaged / NotFound / Conflict only."""

    @property
    def generation(self) -> int: ...

    def records(self) -> tuple[RecordMeta, ...]: ...

    def get(self, record_id: str) -> Secret:
        """Return a record's plaintext. Raises ``NotFound`` (also when its erasure key is gone)."""

    def update(
        self,
        put: Sequence[NewRecord] = (),
        delete: Sequence[str] = (),
        *,
        audit: Callable[[str, int], None] | None = None,
    ) -> int:
        """Write all changes as one; ``audit(phase, generation)`` is called before and after. Returns the generation."""


@dataclass(frozen=True)
class OperationRow:
    """A long operation as it lies in the store. ``body`` is JSON of whoever runs it; no secret is in it.

    Attributes:
        kind: ``rotation``.
        state: ``open``, ``done`` or ``aborted``; one open operation an account.
    """

    id: str
    account: str
    kind: str
    state: str
    body: str
    started_at: int
    updated_at: int


@dataclass(frozen=True)
class OperationOwner:
    """The process that works on an account's operation.

    Attributes:
        started: the kernel's start time of the process, so that a reused pid is noticed.
        taken_at, beat_at: when it took the lock, and when it last said that it lives (ms).
    """

    pid: int
    host: str
    started: str
    what: str
    taken_at: int
    beat_at: int


class OperationStore(Protocol):
    """The journal of long operations, and who works on them. Raises ``FortctlError`` only."""

    def current(self, account: str) -> OperationRow | None:
        """Return the open operation, or None."""

    def last(self, account: str) -> OperationRow | None:
        """Return the operation that was begun last, whatever became of it."""

    def take(self, account: str, me: OperationOwner, alive: Callable[[OperationOwner], bool]) -> OperationOwner | None:
        """Take the account's lock; a dead owner's is taken over, and that owner returned.

        Raises:
            Conflict: a living one holds it; ``details`` names it.
        """

    def owner(self, account: str) -> OperationOwner | None: ...

    def beat(self, account: str, me: OperationOwner, at: int) -> None:
        """Say that the owner lives. Raises ``Conflict`` when the lock is its own no more."""

    def release(self, account: str, me: OperationOwner) -> None: ...

    def put(self, row: OperationRow, me: OperationOwner) -> None:
        """Make an operation's new state durable.

        Raises:
            Conflict: the lock is not mine any more, the operation was closed meanwhile, or another one is open.
        """

    def abort_for_panic(self, account: str, at: int) -> OperationRow | None:
        """Close the open operation, whoever works on it, and return it as it stood; nothing is unlocked."""


class RobotOwner(Protocol):
    """The process that holds an account's lock."""

    @property
    def pid(self) -> int: ...

    @property
    def host(self) -> str: ...


class RobotProcess(Protocol):
    """The robot of one account on this machine."""

    def owner(self) -> RobotOwner | None: ...

    def query(self, request: Mapping[str, Any], *, timeout_s: float = 5.0) -> dict[str, Any]:
        """Ask the running robot over its socket; raises ``RobotUnreachable`` or the robot's own refusal."""

    def wake(self) -> bool: ...

    def bring_up(self, passphrase: Secret | None, *, timeout_s: float = 20.0) -> None:
        """Start the robot, not trading, unless one runs; return once it answers."""

    def is_stopped(self, owner: Any) -> bool:
        """Return whether the owner was stopped: it answers nobody."""

    def kill(self, owner: Any) -> bool:
        """SIGKILL the owner if it is still that very process; True when its lock is free afterwards."""


class Latch(LatchGuard, Protocol):
    """The panic latch as the operator's side sees it."""

    def read(self) -> dict[str, Any]: ...

    def set(self, facts: Mapping[str, Any]) -> None: ...

    def update(self, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Change what it says, one change at a time."""

    def clear(self) -> None: ...

    def cleared(self) -> dict[str, Any] | None:
        """Return what the latch said that was lifted since the robot last came up, or None."""

    def forget_cleared(self) -> None: ...

    def drain_placers(self, timeout_s: float) -> bool: ...


class AuditLog(Protocol):
    def seal_with(self, key: Secret) -> None:
        """Seal the entries of this process from here on."""

    def append(self, what: str, *, account: str, result: str, best_effort: bool = False, **facts: Any) -> None:
        """Append one entry durably; ``best_effort`` writes what can be written and never raises."""

    def head(self) -> tuple[int, str] | None:
        """Return the last entry's number and hash, or None where there is none to be read."""


@dataclass(frozen=True)
class HookOutcome:
    """How a hook ended.

    Attributes:
        exit_code: its exit code (negative: a signal ended it), or None when it could not be started.
        timed_out: it was ended at its limit.
        said: the end of its standard error, redacted.
    """

    exit_code: int | None
    timed_out: bool
    said: str


@dataclass(frozen=True)
class HookReport:
    """What became of one hook.

    Attributes:
        name: the event, or ``notify``.
        state: ``done``, ``failed`` or ``running``.
        detail: why; empty when done.
    """

    name: str
    state: str
    detail: str


class RunningHook(Protocol):
    def outcome(self, wait_s: float) -> HookOutcome | None:
        """Return how it ended, or None when it has not ended in time (it goes on)."""


class HookRunner(Protocol):
    """Starts programs, each under a time limit, in an environment without any secret."""

    def start(self, argv: Sequence[str], event: bytes, *, limit_s: float) -> RunningHook:
        """Start a program with an event on its standard input. Raises ``OSError``."""


class Hooks(Protocol):
    """What an operator wants to be run and told when something happens."""

    def fire(self, event: str, facts: Mapping[str, Any], *, wait_s: float | None = None) -> tuple[HookReport, ...]:
        """Run an event's hooks, waiting for their end at most ``wait_s`` seconds; never raises.

        Args:
            event: ``pre-rotate``, ``post-rotate``, ``on-key-lost``, ``on-held`` or ``on-panic``.
            facts: JSON values that may be shown to anybody.
        """
