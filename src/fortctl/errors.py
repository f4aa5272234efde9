"""The errors that a command may end with: each has a stable code, an exit code, a message and a hint.

Codes and exit codes are part of the command-line contract, so scripts may depend on them. Messages are printed and
logged: no API key and no secret may be passed to a class of this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple


class ExchangeAnswer(NamedTuple):
    """The exchange's own answer to a refused request.

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
    """Base class of every error that a person or a script may see.

    Args:
        message: what went wrong: lower case, no full stop, no secret.
        hint: what the user can do about it.
        details: machine-readable details (JSON values only).
        exchange: the exchange's own answer, where there was one.
        data: the result of the command up to the error, printed beside it.
        warnings: ``(code, message)`` pairs, printed as well.
        text: the form of ``data`` in plain mode.
    """

    code: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str] = "run the command again with -vv and report its output"

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
    """A bug in fortctl."""


class UsageError(FortctlError):
    """The command line is wrong."""

    code, exit_code = "USAGE", 2
    default_hint = "see the command's --help"


class BadInputError(FortctlError):
    """The content of an input is invalid."""

    code, exit_code = "BAD_INPUT", 2
    default_hint = 'give one JSON object {"name": …, "api_key": …, "secret_key": …}'


class ConfigError(FortctlError):
    """The configuration is invalid."""

    code, exit_code = "CONFIG", 2
    default_hint = "see 'fortctl config show'"


class KeyRejectedError(FortctlError):
    """The exchange does not accept the key; ``details['reason']`` says why."""

    code, exit_code = "KEY_REJECTED", 3
    default_hint = "check the key on Binance's API management page, then enter it again"


class KeyPolicyError(FortctlError):
    """The key works, but its permissions do not match its role."""

    code, exit_code = "KEY_POLICY", 4
    default_hint = "edit the key's permissions on Binance's API management page"


class VaultLockedError(FortctlError):
    """The vault cannot be unlocked, or the passphrase is wrong."""

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
    """Another operation holds a lock, or the present state does not allow the command."""

    code, exit_code = "CONFLICT", 8
    default_hint = "see 'fortctl robot status'"


class JournalUnwritableError(ConflictError):
    """The robot's journal cannot be written: the disk is full or fails, or another process holds the file."""

    default_hint = "free disk space, or end the process that holds the file; the robot then continues by itself"


class RobotUnreachableError(FortctlError):
    """The robot does not answer."""

    code, exit_code = "ROBOT_UNREACHABLE", 9
    default_hint = "see 'fortctl robot status' and 'fortctl robot logs'"


class RobotTimeoutError(FortctlError):
    """The robot did not finish in time; it continues with the command."""

    code, exit_code = "ROBOT_TIMEOUT", 9
    default_hint = "see 'fortctl robot status'; the robot continues with the command"


class ExchangeUnreachableError(FortctlError):
    """The exchange cannot be reached."""

    code, exit_code = "EXCHANGE_UNREACHABLE", 10
    default_hint = "check the network and the exchange's status page, then try again"


class ExchangeBusyError(FortctlError):
    """The exchange accepts no requests for a while (rate limit, ban, maintenance)."""

    code, exit_code = "EXCHANGE_BUSY", 10
    default_hint = "wait as long as the exchange asks, then try again"


class ClockSkewError(FortctlError):
    """This machine's clock differs too much from the exchange's."""

    code, exit_code = "CLOCK_SKEW", 10
    default_hint = "set this machine's clock (NTP), then try again"


class ConfirmationNeededError(FortctlError):
    """The command needs a confirmation, and cannot prompt for it."""

    code, exit_code = "CONFIRMATION_NEEDED", 11
    default_hint = "run the command on a terminal, or give --yes (--confirm NAME where a name must be typed)"


class ActionRequiredError(FortctlError):
    """The rest must be done by a person; ``details['actions']`` lists what."""

    code, exit_code = "ACTION_REQUIRED", 12
    default_hint = "do what details.actions lists on Binance's page, then run the command again"


class KeyTooOldError(FortctlError):
    """A key is older than its rotation age."""

    code, exit_code = "KEY_TOO_OLD", 13
    default_hint = "rotate it with 'fortctl keys rotate'"


class Terminated(BaseException):
    """SIGTERM arrived; raised in the main thread, so that every context is closed on the way out."""


EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


def error_classes() -> dict[str, type[FortctlError]]:
    """Return every error class by its stable code (used by docs, help and 'explain')."""
    classes: dict[str, type[FortctlError]] = {}
    pending = [FortctlError]
    while pending:
        cls = pending.pop()
        classes.setdefault(cls.code, cls)
        pending.extend(cls.__subclasses__())
    return classes


def error_from_json(error: Mapping[str, Any]) -> FortctlError:
    """Return the exception that another process sent as its ``error`` object."""
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
