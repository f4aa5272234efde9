"""What two answers of the exchange tell of a refused key, as a table."""

from __future__ import annotations

import pytest

from fortctl.keys.rejection import diagnose_rejection
from fortctl.ports import ExchangeError, Outcome


def refused(code: int | None, message: str = "Invalid API-key, IP, or permissions for action.") -> ExchangeError:
    return ExchangeError(Outcome.KEY_REFUSED, message, code=code, http_status=401)


DOWN = ExchangeError(Outcome.UNREACHABLE, "no connection")
NO_SAPI = ExchangeError(Outcome.REFUSED, "this target has no /sapi")


@pytest.mark.parametrize(
    ("account", "restrictions", "reason", "certainty", "address"),
    [
        (None, None, None, None, None),
        (DOWN, None, None, None, None),
        (DOWN, DOWN, None, None, None),
        (refused(-2015), refused(-2008), "unknown_key", "certain", None),
        (refused(-2014), refused(-2014), "malformed_key", "certain", None),
        (refused(-1022), refused(-1022), "wrong_secret", "certain", None),
        (refused(-2015), refused(-2015), "ip_not_listed", "likely", None),
        (
            refused(-2015, "Invalid API-key, IP, or permissions for action, request ip: 203.0.113.7"),
            refused(-2015),
            *("ip_not_listed", "likely", "203.0.113.7"),
        ),
        (
            refused(-2015),
            refused(-2015, "Invalid API-key, IP, or permissions for action, request ip: 2001:db8::7"),
            *("ip_not_listed", "likely", "2001:db8::7"),
        ),
        (refused(-2015), None, "right_missing", "certain", None),
        (refused(-2015), NO_SAPI, "refused", "possible", None),
        (refused(-2015), DOWN, "refused", "possible", None),
        (None, refused(-2015), "refused", "possible", None),
    ],
)
def test_what_is_read(
    account: ExchangeError | None,
    restrictions: ExchangeError | None,
    reason: str | None,
    certainty: str | None,
    address: str | None,
) -> None:
    found = diagnose_rejection(account, restrictions)
    assert (found and found.reason, found and found.certainty, found and found.address) == (reason, certainty, address)
