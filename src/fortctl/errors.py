"""The error tree: each error carries a stable code, an exit code, a message and a remedy.

The table of codes and exit codes is the command-line contract; scripts depend on it.
Nothing in this module may ever receive an API key or a secret: messages are printed and logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class ExchangeAnswer:
    """What the exchange itself said when it refused.

    Attributes:
        http_status: HTTP status of the answer, or None when there was no answer.
        code: Binance's error code (for example -2015), or None.
        message: Binance's own text.
    """

    http_status: int | None
    code: int | None
    message: str

    def as_json(self) -> dict[str, Any]:
        return {"http_status": self.http_status, "code": self.code, "message": self.message}


class FortctlError(Exception):
    """Base of every error that a person or a script may see.

    Args:
        message: what went wrong, lower case, no full stop, no secret.
        hint: what to do about it.
        details: machine-readable facts (JSON values only).
        exchange: the exchange's own answer, where there was one.
        data: what the command did or found before it ended so (printed beside the error).
        warnings: ``(code, message)`` pairs to print as well.
        text: how plain mode shows ``data``.
    """

    code: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str] = "run the command again with -vv and report what it prints"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        details: Mapping[str, Any] | None = None,
        exchange: ExchangeAnswer | None = None,
        data: Mapping[str, Any] | None = None,
        warnings: tuple[tuple[str, str], ...] = (),
        text: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is not None else self.default_hint
        self.details: dict[str, Any] = dict(details or {})
        self.exchange = exchange
        self.data = dict(data) if data is not None else None
        self.warnings = tuple(warnings)
        self.text = text

    def as_json(self) -> dict[str, Any]:
        """Return the ``error`` object of the JSON envelope."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "exit_code": self.exit_code,
            "exchange": self.exchange.as_json() if self.exchange else None,
            "details": self.details,
        }


class InternalError(FortctlError):
    """A fault of fortctl's own."""


class UsageError(FortctlError):
    """The call is wrong."""

    code, exit_code = "USAGE", 2
    default_hint = "see the command's --help"


class BadInputError(FortctlError):
    """The content of an input is wrong."""

    code, exit_code = "BAD_INPUT", 2
    default_hint = 'give one JSON object {"name": …, "api_key": …, "secret_key": …}'


class ConfigError(FortctlError):
    """The configuration is wrong."""

    code, exit_code = "CONFIG", 2
    default_hint = "see 'fortctl config show'"


class KeyRejectedError(FortctlError):
    """The exchange does not accept the key; ``details['reason']`` says why."""

    code, exit_code = "KEY_REJECTED", 3
    default_hint = "check the key on Binance's API management page, then enter it again"


class KeyPolicyError(FortctlError):
    """The key works but its permissions are not what the role allows."""

    code, exit_code = "KEY_POLICY", 4
    default_hint = "edit the key's restrictions on Binance's API management page"


class VaultLockedError(FortctlError):
    """Nothing unlocks the vault, or the passphrase is wrong."""

    code, exit_code = "VAULT_LOCKED", 5
    default_hint = "give --passphrase-file, or set FORTCTL_PASSPHRASE_FILE"


class VaultDamagedError(FortctlError):
    """A vault, a store or the audit log fails its integrity check."""

    code, exit_code = "VAULT_DAMAGED", 6
    default_hint = (
        "restore the file from a backup, or delete the keys ('keys delete --without-unlocking') and enter them again"
    )


class NotFoundError(FortctlError):
    """There is no such account, key, robot, order or operation."""

    code, exit_code = "NOT_FOUND", 7
    default_hint = "see 'fortctl accounts list' and 'fortctl keys list'"


class ConflictError(FortctlError):
    """Another operation holds the lock, or the state does not allow it."""

    code, exit_code = "CONFLICT", 8
    default_hint = "see 'fortctl robot status'"


class JournalUnwritableError(ConflictError):
    """The robot's journal cannot be written now: the disk is full or fails, or another process holds the file."""

    default_hint = "make room on its disk, or end what holds the file; the robot goes on by itself"


class RobotUnreachableError(FortctlError):
    """The robot gives no answer."""

    code, exit_code = "ROBOT_UNREACHABLE", 9
    default_hint = "see 'fortctl robot status' and 'fortctl robot logs'"


class RobotTimeoutError(FortctlError):
    """The robot did not finish in time; what it was asked for goes on."""

    code, exit_code = "ROBOT_TIMEOUT", 9
    default_hint = "see 'fortctl robot status'; the command goes on in the robot"


class ExchangeUnreachableError(FortctlError):
    """The exchange cannot be reached."""

    code, exit_code = "EXCHANGE_UNREACHABLE", 10
    default_hint = "check the network and the exchange's status page, then try again"


class ExchangeBusyError(FortctlError):
    """The exchange takes no requests for a while (a limit, a ban, maintenance)."""

    code, exit_code = "EXCHANGE_BUSY", 10
    default_hint = "wait as long as the exchange says, then try again"


class ClockSkewError(FortctlError):
    """This machine's clock and the exchange's lie too far apart."""

    code, exit_code = "CLOCK_SKEW", 10
    default_hint = "set this machine's clock (NTP), then try again"


class ConfirmationNeededError(FortctlError):
    """It would need an answer, and nobody may be asked."""

    code, exit_code = "CONFIRMATION_NEEDED", 11
    default_hint = "run it on a terminal, or give --yes (or --confirm NAME where a name must be typed)"


class ActionRequiredError(FortctlError):
    """Done as far as fortctl can; ``details['actions']`` says what a person must still do."""

    code, exit_code = "ACTION_REQUIRED", 12
    default_hint = "do what details.actions says on Binance's page, then run the command again"


class KeyTooOldError(FortctlError):
    """A key is past its rotation age."""

    code, exit_code = "KEY_TOO_OLD", 13
    default_hint = "rotate the key"


class Terminated(BaseException):
    """SIGTERM, raised where the main thread stands, so that everything is closed on the way out."""


EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


def error_classes() -> dict[str, type[FortctlError]]:
    """Return every error class by its stable code (used by docs, help and 'explain')."""
    found: dict[str, type[FortctlError]] = {}
    pending = [FortctlError]
    while pending:
        cls = pending.pop()
        found.setdefault(cls.code, cls)
        pending.extend(cls.__subclasses__())
    return found


def error_from_json(error: Mapping[str, Any]) -> FortctlError:
    """Make the ``error`` object of another process into an exception of the same class."""
    cls = error_classes().get(str(error.get("code")), InternalError)
    answer = error.get("exchange")
    exchange = (
        ExchangeAnswer(answer.get("http_status"), answer.get("code"), str(answer.get("message", "")))
        if isinstance(answer, Mapping)
        else None
    )
    return cls(
        str(error.get("message", "the robot refused")),
        hint=str(error["hint"]) if error.get("hint") else None,
        details=dict(error.get("details") or {}),
        exchange=exchange,
    )
