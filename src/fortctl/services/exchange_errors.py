"""Translate what the exchange port raises into the errors of the command line. Pure."""

from __future__ import annotations

from fortctl.errors import (
    BadInput,
    ClockSkew,
    ExchangeAnswer,
    ExchangeBusy,
    ExchangeUnreachable,
    FortctlError,
    KeyRejected,
    NotFound,
)
from fortctl.ports import ExchangeFault, Outcome

_CLASS_OF: dict[Outcome, type[FortctlError]] = {
    Outcome.KEY_REFUSED: KeyRejected,
    Outcome.REFUSED: BadInput,
    Outcome.ABSENT: NotFound,
    Outcome.DUPLICATE: BadInput,
    Outcome.WOULD_TAKE: BadInput,
    Outcome.NO_FUNDS: BadInput,
    Outcome.CLOCK: ClockSkew,
    Outcome.BUSY: ExchangeBusy,
    Outcome.UNKNOWN: ExchangeUnreachable,
    Outcome.UNREACHABLE: ExchangeUnreachable,
}


def to_command_error(fault: ExchangeFault, doing: str) -> FortctlError:
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
