"""What the world can do for fortctl, as Protocols. Services and the robot's runner know these and no adapter.

Every implementation translates the exceptions of its own library: only errors named here (or ``FortctlError``) pass.

A name is imported with its module when it is first used, as in :mod:`fortctl.model`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from fortctl.ports.mailbox import (
        Mailbox,
        MailboxRow,
        PanicBoard,
        PanicRow,
    )
    from fortctl.ports.operations import (
        OperationOwner,
        OperationRow,
        OperationStore,
    )
    from fortctl.ports.robot import (
        Latch,
        LatchGuard,
        RobotOwner,
        RobotProcess,
    )
    from fortctl.ports.vault import (
        NewRecord,
        RecordMeta,
        VaultPort,
    )

_MODULES = {
    "exchange": ("Exchange", "ExchangeError", "IssuedKey", "Issuer", "Outcome"),
    "host": ("AuditLog", "Clock", "HookOutcome", "HookReport", "HookRunner", "HooksPort", "RunningHook"),
    "mailbox": ("Mailbox", "MailboxRow", "PanicBoard", "PanicRow"),
    "operations": ("OperationOwner", "OperationRow", "OperationStore"),
    "robot": ("Latch", "LatchGuard", "RobotOwner", "RobotProcess"),
    "vault": ("NewRecord", "RecordMeta", "VaultPort"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module of a name when it is first used (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


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
