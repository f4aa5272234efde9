"""The steps of a panic: which one follows which, how long each may take, and what happens when it fails. Pure.

:mod:`fortctl.services.panic.steps` has one function for each row, :mod:`fortctl.services.panic.panic` plays the table.
The table and the drawing in docs/robot.md are generated from here (tools/panic_diagram.py).
"""

from __future__ import annotations

from dataclasses import dataclass

LATCH = "latch"
LOCATE_ROBOT = "locate robot"
HALT = "halt"
ORDER = "order to the robot's host"
READ_KEYS = "read keys"
DESTROY_KEYS = "destroy keys"
EMPTY_MAILBOX = "empty mailbox"
ABORT_OPERATION = "abort operation"
CANCEL_ORDERS = "cancel orders"
DELETE_AT_EXCHANGE = "delete at exchange"
LOOK_AGAIN = "look again"
ABORT_AGAIN = "abort operation again"
DELETE_AGAIN = "delete at exchange again"
RECORD = "record"
HOOKS = "hooks"
WAIT_DEAD = "wait dead"


@dataclass(frozen=True)
class TimeLimit:
    """How long a step may work; what it waits for other steps is not counted.

    Attributes:
        seconds: the fixed part (s).
        timeouts: how many times ``--timeout`` is added.
        wait_dead: ``--wait-dead`` is added.
    """

    seconds: float
    timeouts: int = 0
    wait_dead: bool = False

    def total_s(self, timeout_s: float, wait_dead_s: float) -> float:
        """Return the limit (s) under the command's options."""
        return self.seconds + self.timeouts * timeout_s + (wait_dead_s if self.wait_dead else 0.0)

    def __str__(self) -> str:
        times = {0: "", 1: " + `--timeout`"}.get(self.timeouts, f" + {self.timeouts} × `--timeout`")
        return f"{self.seconds:g} s{times}{' + `--wait-dead`' if self.wait_dead else ''}"


@dataclass(frozen=True)
class PanicStepKind:
    """One step.

    Attributes:
        name: what the report calls it (``steps[].name``).
        after: the steps that must be over before it begins, however they ended.
        does: what it does.
        on_failure: what follows when it fails.
        limit: how long it may work.
        at_limit: what follows when it has not ended by then; it counts as failed.
        then_after: the steps that it may wait for in the middle of its work.
        remedy: what a person must do when it failed (``{account}`` is filled in); empty: nothing of its own.
        reported: it is an entry of ``steps[]`` under this name.
    """

    name: str
    after: tuple[str, ...]
    does: str
    on_failure: str
    limit: TimeLimit
    at_limit: str
    then_after: tuple[str, ...] = ()
    remedy: str = ""
    reported: bool = True


_REPORTED = "the report says what a person must do; the other steps are done all the same"

PLAN: tuple[PanicStepKind, ...] = (
    PanicStepKind(
        LATCH,
        (),
        "writes the latch before the rest of the command is loaded: from here on the robot sends no order, even after a"
        " restart or a reboot",
        _REPORTED,
        TimeLimit(3.0),
        "the robot is halted without it; the write continues in the background",
        remedy="the latch of account {account} could not be written: stop the robot's service, make the home writable,"
        " and run this again",
    ),
    PanicStepKind(
        LOCATE_ROBOT,
        (LATCH,),
        "reads whether the robot runs on another host",
        "unless a robot of this machine was halted, the command ends with 9: one may be trading on another host",
        TimeLimit(2.0),
        "as when it fails",
        reported=False,
    ),
    PanicStepKind(
        HALT,
        (LATCH,),
        "asks the robot of this machine to halt, and kills it (SIGKILL) when it does not acknowledge or end in time",
        "`look again` tries once more to kill it; if that fails, the command ends with 9",
        TimeLimit(6.0, timeouts=1),
        "as when it fails",
        then_after=(LOCATE_ROBOT,),
    ),
    PanicStepKind(
        ORDER,
        (LATCH, LOCATE_ROBOT),
        "leaves the pre-signed order in the mailbox of a robot on another host, and waits for its answer",
        "the command ends with 9: the robot may still be trading",
        TimeLimit(8.0, timeouts=1),
        "as when it fails",
        then_after=(HALT,),
    ),
    PanicStepKind(
        READ_KEYS,
        (LATCH,),
        "reads both vaults and the mailbox side by side, and notes in the latch which keys live at the exchange",
        "the keys that nothing names are a person's to delete",
        TimeLimit(8.0),
        "what was read until then is used; what was not counts as unknown",
    ),
    PanicStepKind(
        DESTROY_KEYS,
        (READ_KEYS,),
        "overwrites the erasure keys of every copy",
        _REPORTED,
        TimeLimit(5.0),
        "as when it fails; the writing continues in the background",
        remedy="the key copies of account {account} could not all be destroyed: make the home writable (or do it"
        " as its user), and run this again",
    ),
    PanicStepKind(
        EMPTY_MAILBOX,
        (READ_KEYS,),
        "notes which keys were on their way to the robot, then erases the sealed deliveries and the robot's card",
        "the report says so, where it could not be read whether a key was on its way",
        TimeLimit(8.0),
        "as when it fails; deliveries are sealed to a key that is destroyed",
    ),
    PanicStepKind(
        ABORT_OPERATION,
        (LATCH,),
        "ends an open rotation, and notes the names under which it may have had keys made",
        "`abort operation again` tries once more at the end",
        TimeLimit(5.0),
        "as when it fails",
    ),
    PanicStepKind(
        CANCEL_ORDERS,
        (HALT, ORDER, READ_KEYS),
        "cancels the robot's own open orders until none that it sent before the latch can arrive any more",
        "the report asks a person to look for its orders on Binance's page",
        TimeLimit(6.0, timeouts=2),
        "as when it fails",
    ),
    PanicStepKind(
        DELETE_AT_EXCHANGE,
        (READ_KEYS,),
        "has the issuer, where there is one, delete the keys: the one that cancels orders last",
        _REPORTED,
        TimeLimit(12.0, timeouts=3),
        "as when it fails",
        then_after=(CANCEL_ORDERS, ABORT_OPERATION),
        remedy="the keys of account {account} could not be deleted by the issuer: delete them on Binance's page",
    ),
    PanicStepKind(
        LOOK_AGAIN,
        (HALT, ORDER, DESTROY_KEYS, EMPTY_MAILBOX, ABORT_OPERATION, CANCEL_ORDERS, DELETE_AT_EXCHANGE),
        "kills a robot that came up meanwhile, and destroys a copy that another command wrote meanwhile",
        f"{_REPORTED}; with 9 where a robot of this machine may still run",
        TimeLimit(8.0),
        "as when it fails",
        remedy="check whether a robot of account {account} still runs, and run this again",
    ),
    PanicStepKind(
        ABORT_AGAIN,
        (LOOK_AGAIN,),
        "ends the rotation, where the first attempt failed",
        _REPORTED,
        TimeLimit(5.0),
        "as when it fails",
        remedy="the rotation of account {account} could not be ended: run this again once nothing holds its store",
    ),
    PanicStepKind(
        DELETE_AGAIN,
        (ABORT_AGAIN,),
        "has the issuer delete the keys of that rotation",
        _REPORTED,
        TimeLimit(12.0, timeouts=3),
        "as when it fails",
        remedy="the rotation's keys of account {account} could not be deleted by the issuer: delete them on Binance's"
        " page",
    ),
    PanicStepKind(
        RECORD,
        (DELETE_AGAIN,),
        "notes in the latch and in the audit log what was done",
        "the report says so",
        TimeLimit(4.0),
        "as when it fails",
    ),
    PanicStepKind(
        HOOKS,
        (RECORD,),
        "runs the `on-panic` hook, and `post-rotate` for a rotation that was ended; each is an entry `hook NAME`",
        "a warning (`HOOK_FAILED`)",
        TimeLimit(4.0),
        "a warning; the hooks continue without the command",
        reported=False,
    ),
    PanicStepKind(
        WAIT_DEAD,
        (HOOKS,),
        "with `--wait-dead`: asks until every old key is proved deleted; Ctrl-C ends only this step",
        "the keys stay a person's to delete",
        TimeLimit(5.0, wait_dead=True),
        "as when it fails",
    ),
)
