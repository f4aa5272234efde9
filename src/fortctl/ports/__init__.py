"""What the world can do for fortctl, as Protocols. Services and the robot's runner know these and no adapter.

Every implementation translates the exceptions of its own library: only errors named here (or ``FortctlError``) pass.
"""

from fortctl.ports.exchange import (
    Exchange,
    ExchangeError,
    IssuedKey,
    Issuer,
    Outcome,
)
from fortctl.ports.host import (
    AuditLog,
    Clock,
    HookOutcome,
    HookReport,
    HookRunner,
    HooksPort,
    RunningHook,
)
from fortctl.ports.robot import (
    Latch,
    LatchGuard,
    RobotOwner,
    RobotProcess,
)
from fortctl.ports.stores import (
    Mailbox,
    MailboxRow,
    NewRecord,
    OperationOwner,
    OperationRow,
    OperationStore,
    PanicBoard,
    PanicRow,
    RecordMeta,
    VaultPort,
)

__all__ = [
    "AuditLog",
    "Clock",
    "Exchange",
    "ExchangeError",
    "HookOutcome",
    "HookReport",
    "HookRunner",
    "HooksPort",
    "IssuedKey",
    "Issuer",
    "Latch",
    "LatchGuard",
    "Mailbox",
    "MailboxRow",
    "NewRecord",
    "OperationOwner",
    "OperationRow",
    "OperationStore",
    "Outcome",
    "PanicBoard",
    "PanicRow",
    "RecordMeta",
    "RobotOwner",
    "RobotProcess",
    "RunningHook",
    "VaultPort",
]
