"""What a panic can do for one account; ``bootstrap/panic.py`` makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fortctl.errors import FortctlError
from fortctl.model import KeyPair
from fortctl.ports import Clock, Exchange, HookReport, Issuer, Latch, RobotProcess
from fortctl.services.panic.halt import HaltResult
from fortctl.services.panic.known_key import KeysRead, KnownKey


class RemoteHalting(Protocol):
    """Halts a robot on another host (:class:`fortctl.services.panic.remote_halt.RemoteHalt`)."""

    async def run(self) -> HaltResult:
        """Send the order and wait for the answer. Raises ``FortctlError``: the order could not even be sent."""


# (cancel its orders, --timeout in seconds, when the panic began in milliseconds) -> how to halt it
RemoteHaltFactory = Callable[[bool, float, int], RemoteHalting]
# The facts of a hook's event: JSON values that anybody may see.
HookFacts = Mapping[str, Any]


@dataclass(frozen=True)
class JournaledOrder:
    """An order that the robot's journal holds as open.

    Attributes:
        order_id: the exchange's number, or 0 if the exchange has not given one.
    """

    symbol: str
    client_order_id: str
    order_id: int


class KeyReader(Protocol):
    """Reads what a home says of an account's keys without asking a person; keys stay in memory.

    Each method may be called in a thread of its own beside the others, may hang, and may raise anything.
    """

    def site_vault(self) -> KeysRead:
        """Return the keys of the site's vault, and the function that makes fingerprints."""

    def robot_vault(self) -> KeysRead:
        """Return the keys of the robot's vault."""

    def robot_card(self) -> Sequence[KnownKey]:
        """Return the key that the robot's card in the mailbox names."""

    def never_had_robot(self) -> bool:
        """Return whether this home certainly never knew a robot's key."""

    def deliveries(self) -> Sequence[str]:
        """Return when keys were sent to the robot that it has not accepted (RFC 3339)."""


@dataclass(frozen=True)
class AbortedOperation:
    """A rotation that a panic ended, this one or one before.

    Attributes:
        detail: which, for a person; empty where an earlier panic ended it.
        at_ms: when it was ended; None where it could not be, and ``problem`` says why.
        names: the unique names under which it had keys made, or may have, by role.
        all_made: the exchange has answered every request: no key is yet to be made.
        problem: why it could not be ended, although its names could be read.
        post_rotate: the facts of the ``post-rotate`` hook, where this panic has ended it and ``pre-rotate`` was run.
    """

    detail: str
    at_ms: int | None
    names: Mapping[str, Sequence[str]]
    all_made: bool = False
    problem: FortctlError | None = None
    post_rotate: HookFacts | None = None


@dataclass(frozen=True)
class PanicRecord:
    """What the audit log keeps of a panic.

    Attributes:
        actions: how many things a person must still do.
        keys: the keys that the panic knows, without the keys themselves.
    """

    actions: int
    keys: tuple[KnownKey, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the facts of the audit entry."""
        return {"actions": self.actions, "keys": [key.as_json() for key in self.keys]}


@dataclass(frozen=True)
class PanicPorts:
    """What a panic can do for one account; each callable may hang and may raise anything.

    Attributes:
        latch: the robot's latch.
        process: the robot's process on this machine.
        in_flight_ms: how long after the latch an order that left before it may still arrive (ms).
        remote: returns how a robot on another host is halted, or None where it runs here.
        keys: reads the account's keys.
        own_prefix: returns the prefix of the robot's client order ids, or None where it cannot be known.
        journaled_orders: returns the orders that the robot's journal holds as open; may hang, may raise anything.
        destroy: destroys every copy's erasure keys; returns their names.
        empty_mailbox: removes the robot's card from the mailbox and erases queued deliveries.
        abort_operation: ends an open rotation as aborted; returns which, or None where there was none.
        open_operation: returns which rotation is open, or None; changes nothing.
        load_exchange: loads what ``connect`` needs, which takes long; called in a thread.
        connect: makes an exchange adapter of a key.
        issuer: returns the issuer, where its vault opens without asking; None where a person issues keys.
        audit: writes the panic's audit entry, best effort.
        fire: runs an event's hooks, waiting at most some seconds.
        hooks: returns the names of the hooks that an event would run.
        user: the name of the user who typed the command.
    """

    account: str
    latch: Latch
    process: RobotProcess
    in_flight_ms: int
    remote: Callable[[], RemoteHaltFactory | None]
    keys: KeyReader
    own_prefix: Callable[[], str | None]
    journaled_orders: Callable[[], Sequence[JournaledOrder]]
    destroy: Callable[[], tuple[str, ...]]
    empty_mailbox: Callable[[], None]
    abort_operation: Callable[[], AbortedOperation | None]
    open_operation: Callable[[], str | None]
    load_exchange: Callable[[], None]
    connect: Callable[[KeyPair], Exchange]
    issuer: Callable[[], Issuer | None]
    audit: Callable[[PanicRecord], None]
    fire: Callable[[str, HookFacts, float], Sequence[HookReport]]
    hooks: Callable[[str], Sequence[str]]
    clock: Clock
    user: str
