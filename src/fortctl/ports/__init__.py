"""What services and robots need from outside, as Protocols: they import this package, and no adapter.

- :mod:`.exchange`: an exchange seen with one key, and the issuer of a sub-account's keys.
- :mod:`.vault`, :mod:`.mailbox`, :mod:`.operations`: the stores.
- :mod:`.robot`: the process of an account's robot, and its panic latch.
- :mod:`.host`: clock, audit log; :mod:`.hooks`: the operator's hooks.

Each adapter translates the exceptions of its library: only ``ExchangeError``, ``FortctlError`` and what a method's
docstring names leave it. Tests implement the same Protocols with fakes that keep the same promises. Import from here:
``from fortctl.ports import Exchange`` (the module of a name is imported when the name is first used).
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
    from fortctl.ports.hooks import (
        HookOutcome,
        HookReport,
        HookRunner,
        HooksPort,
        RunningHook,
    )
    from fortctl.ports.host import (
        AuditLog,
        Clock,
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
    "hooks": ("HookOutcome", "HookReport", "HookRunner", "HooksPort", "RunningHook"),
    "host": ("AuditLog", "Clock"),
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
