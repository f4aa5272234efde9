"""Translate what the exchange port raises into the errors of the command line. Pure."""

from __future__ import annotations

from fortctl.errors import (
    BadInputError,
    ClockSkewError,
    ExchangeAnswer,
    ExchangeBusyError,
    ExchangeUnreachableError,
    FortctlError,
    KeyRejectedError,
    NotFoundError,
)
from fortctl.ports import ExchangeError, Outcome

_CLASS_OF: dict[Outcome, type[FortctlError]] = {
    Outcome.KEY_REFUSED: KeyRejectedError,
    Outcome.REFUSED: BadInputError,
    Outcome.ABSENT: NotFoundError,
    Outcome.DUPLICATE: BadInputError,
    Outcome.WOULD_TAKE: BadInputError,
    Outcome.NO_FUNDS: BadInputError,
    Outcome.CLOCK: ClockSkewError,
    Outcome.BUSY: ExchangeBusyError,
    Outcome.UNKNOWN: ExchangeUnreachableError,
    Outcome.UNREACHABLE: ExchangeUnreachableError,
}


def to_command_error(fault: ExchangeError, doing: str) -> FortctlError:
    """Return the error to raise for a fault met while ``doing`` something."""
    answer = ExchangeAnswer(fault.http_status, fault.code, fault.message)
    answered = fault.http_status is not None or fault.code is not None
    return _CLASS_OF[fault.outcome](
        f"{doing}: {fault.message}",
        hint="see 'fortctl explain " + str(fault.code) + "'"
        if fault.outcome is Outcome.REFUSED and fault.code
        else None,
        details={"outcome": fault.outcome.value, "retry_after": fault.retry_after},
        exchange=answer if answered else None,
    )
