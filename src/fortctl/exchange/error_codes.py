"""Binance's error codes: the outcome that each implies, its meaning, and the remedy. Pure.

Sources: ``errors.md`` and ``rest-api.md`` of binance-spot-api-docs; Binance sends -2008 on ``/sapi`` only.
"""

from __future__ import annotations

from dataclasses import dataclass

from fortctl.ports import Outcome


@dataclass(frozen=True)
class ErrorCode:
    """One error code.

    Attributes:
        outcome: how a robot must read it.
        meaning: for a person.
        remedy: what a person can do about it.
    """

    outcome: Outcome
    meaning: str
    remedy: str


_LOOK_UP = "the outcome is unknown, so fortctl first looks the order up by its client order id"
_BUG = "the request was malformed: report this, with the command that you ran"

CODES: dict[int, ErrorCode] = {
    -1000: ErrorCode(Outcome.UNKNOWN, "an unknown error occurred while Binance processed the request", _LOOK_UP),
    -1001: ErrorCode(Outcome.UNKNOWN, "an internal error of Binance; the request may have been processed", _LOOK_UP),
    -1002: ErrorCode(Outcome.KEY_REFUSED, "the key is not authorised for this request", "check the key on Binance's API management page"),
    -1003: ErrorCode(Outcome.BUSY, "too many requests from this address", "wait as long as Binance says (Retry-After)"),
    -1006: ErrorCode(Outcome.UNKNOWN, "an unexpected answer inside Binance; execution status unknown", _LOOK_UP),
    -1007: ErrorCode(Outcome.UNKNOWN, "a time-out inside Binance; execution status unknown", _LOOK_UP),
    -1008: ErrorCode(Outcome.UNKNOWN, "Binance is overloaded with other requests", _LOOK_UP),
    -1013: ErrorCode(Outcome.REFUSED, "the order breaks one of the symbol's filters", "change price, quantity or order size"),
    -1015: ErrorCode(Outcome.BUSY, "too many new orders", "wait for the window that the message names"),
    -1016: ErrorCode(Outcome.REFUSED, "this service is no longer available", "upgrade fortctl"),
    -1020: ErrorCode(Outcome.REFUSED, "this operation is not supported", _BUG),
    -1021: ErrorCode(Outcome.CLOCK, "the timestamp is outside the receive window", "set this machine's clock (NTP)"),
    -1022: ErrorCode(Outcome.KEY_REFUSED, "the signature is not valid: the secret does not belong to the API key",
                "enter both halves of the key again, or create a new key"),
    -1100: ErrorCode(Outcome.REFUSED, "a parameter has illegal characters", _BUG),
    -1101: ErrorCode(Outcome.REFUSED, "too many parameters, or one twice", _BUG),
    -1102: ErrorCode(Outcome.REFUSED, "a mandatory parameter is missing or malformed", _BUG),
    -1103: ErrorCode(Outcome.REFUSED, "an unknown parameter was sent", _BUG),
    -1104: ErrorCode(Outcome.REFUSED, "not all parameters that were sent were read", _BUG),
    -1105: ErrorCode(Outcome.REFUSED, "a parameter was empty", _BUG),
    -1106: ErrorCode(Outcome.REFUSED, "a parameter was sent where it is not required", _BUG),
    -1111: ErrorCode(Outcome.REFUSED, "a number has too much precision for the symbol", "round to the symbol's tick and step"),
    -1114: ErrorCode(Outcome.REFUSED, "timeInForce was sent where it is not required", _BUG),
    -1115: ErrorCode(Outcome.REFUSED, "invalid timeInForce", _BUG),
    -1116: ErrorCode(Outcome.REFUSED, "invalid order type", _BUG),
    -1117: ErrorCode(Outcome.REFUSED, "invalid side", _BUG),
    -1121: ErrorCode(Outcome.REFUSED, "invalid symbol", "check the symbol's name, for example BTCUSDT"),
    -1128: ErrorCode(Outcome.REFUSED, "this combination of optional parameters is invalid", _BUG),
    -1130: ErrorCode(Outcome.REFUSED, "the data sent for a parameter is not valid", _BUG),
    -1131: ErrorCode(Outcome.REFUSED, "recvWindow is too large", _BUG),
    -2008: ErrorCode(Outcome.KEY_REFUSED, "Binance knows no such API key: it was deleted, or never existed",
                "create a new key on Binance's page and enter it"),
    -2010: ErrorCode(Outcome.REFUSED, "the new order was refused; the message says why", "see the message"),
    -2011: ErrorCode(Outcome.ABSENT, "the cancel was refused: no such open order", "it was filled or cancelled already"),
    -2013: ErrorCode(Outcome.ABSENT, "no such order, or not visible yet", "try again in a moment"),
    -2014: ErrorCode(Outcome.KEY_REFUSED, "the API key's format is invalid", "copy the API key again from Binance's page"),
    -2015: ErrorCode(Outcome.KEY_REFUSED,
                "the key does not exist, or this address is not on its IP list, or it lacks the right for this action",
                "'fortctl keys verify' tells these apart as far as Binance lets it"),
    -2021: ErrorCode(Outcome.REFUSED, "an order cancel-replace failed in part", "see the answer's data"),
    -2022: ErrorCode(Outcome.REFUSED, "an order cancel-replace failed", "see the answer's data"),
    -2026: ErrorCode(Outcome.ABSENT, "the order was archived: cancelled or expired without a fill over 90 days ago", "nothing to do"),
    -2038: ErrorCode(Outcome.REFUSED, "the order amendment was refused", "see the message"),
    -2039: ErrorCode(Outcome.REFUSED, "client order id and order id do not belong together", _BUG),
    -9000: ErrorCode(Outcome.REFUSED, "the operation is not supported, or not for this account or key; the message says why",
                "see the message; if the sub-account has reached its limit of keys, delete unused ones"),
}  # fmt: skip

# -2010 and -2011 stand for several refusals each; the text distinguishes them (errors.md).
_TEXTS: tuple[tuple[str, Outcome], ...] = (
    ("Duplicate order sent.", Outcome.DUPLICATE),
    ("Order would immediately match and take.", Outcome.WOULD_TAKE),
    ("Account has insufficient balance for requested action.", Outcome.NO_FUNDS),
    # The account may no longer trade: handled as a lost key, and then named by the account's own state.
    ("This account may not place or cancel orders.", Outcome.KEY_REFUSED),
    ("This action is disabled on this account.", Outcome.KEY_REFUSED),
)


def classify(http_status: int | None, code: int | None, message: str) -> Outcome:
    """Return how to read an answer that is not a success.

    Args:
        http_status: of the answer, or None for an answer on a socket.
        code: Binance's code, or None where the body was not Binance's.
        message: Binance's text.
    """
    if http_status in (418, 429):
        return Outcome.BUSY
    if http_status is not None and http_status >= 500:
        # Whatever the body says, the order may have been executed (rest-api.md, "HTTP Return Codes").
        return Outcome.UNKNOWN
    if code in (-2010, -2011):
        return next((outcome for text, outcome in _TEXTS if text in message), CODES[code].outcome)
    if code in CODES:
        return CODES[code].outcome
    if http_status == 451:
        # Refused for the country or the address before the request reached the exchange.
        return Outcome.UNREACHABLE
    if http_status == 403:
        # Binance's firewall refused it, not the key: nothing reached the exchange, and more requests would prolong it.
        return Outcome.BUSY
    if http_status == 401:
        return Outcome.KEY_REFUSED
    return Outcome.REFUSED if code else Outcome.UNKNOWN
