"""What a panic can do for one account, as the wiring hands it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fortctl.errors import FortctlError
from fortctl.model import KeyPair
from fortctl.ports import Clock, Exchange, HookReport, Issuer, Latch, RobotProcess
from fortctl.services.panic.halt import RemoteHalt
from fortctl.services.panic.report import KeysRead

# Cancel its orders, seconds, when the panic began (ms).
Remote = Callable[[bool, float, int], RemoteHalt]


@dataclass(frozen=True)
class Aborted:
    """A rotation that a panic ended, this one or one before.

    Attributes:
        detail: which, for a person; empty where an earlier panic ended it.
        at_ms: when it was ended; None where it could not be, and ``problem`` says why.
        names: the unique names under which it had keys made, or may have, by role.
        made: the exchange's answer came before it was ended: nothing is yet to come.
        post_rotate: what the hook of that name tells, where this panic has ended it and its beginning was told of.
    """

    detail: str
    at_ms: int | None
    names: Mapping[str, Sequence[str]]
    made: bool = False
    problem: FortctlError | None = None
    post_rotate: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PanicPorts:
    """What panic can do for one account; each callable may raise anything, and is contained.

    Attributes:
        latch: the robot's latch.
        process: the robot's process on this machine.
        in_flight_ms: how long after the latch an order that left before it may still come to be (ms).
        remote: tells how a robot on another host is halted, or None where it is here; asked after the latch is on.
        read_keys: every key that can be read without asking a person (into memory only), the names of others, and of
            which roles nothing is known.
        own_prefix: the prefix of the robot's client order ids, or None where it cannot be known.
        destroy: destroys every copy's erasure keys; returns what it destroyed.
        queued: tells when keys were sent to the robot that it has not taken up (RFC 3339).
        empty_mailbox: takes the robot's card out of the mailbox and erases queued deliveries.
        abort_operation: ends a rotation that is under way as aborted; tells which, or None where there was none.
        open_operation: tells which rotation is under way, or None; nothing is done.
        connect: makes an exchange adapter.
        issuer: the issuer, where its vault opens without asking; None where a person issues keys.
        audit: writes one audit entry, best effort.
        fire: runs an event's hooks, waiting at most some seconds.
        hooks: tells what an event would run.
    """

    account: str
    latch: Latch
    process: RobotProcess
    in_flight_ms: int
    remote: Callable[[], Remote | None]
    read_keys: Callable[[], KeysRead]
    own_prefix: Callable[[], str | None]
    destroy: Callable[[], tuple[str, ...]]
    queued: Callable[[], Sequence[str]]
    empty_mailbox: Callable[[], None]
    abort_operation: Callable[[], Aborted | None]
    open_operation: Callable[[], str | None]
    connect: Callable[[KeyPair], Exchange]
    issuer: Callable[[], Issuer | None]
    audit: Callable[[str, Mapping[str, Any]], None]
    fire: Callable[[str, Mapping[str, Any], float], Sequence[HookReport]]
    hooks: Callable[[str], Sequence[str]]
    clock: Clock
    who: str
