"""Binance's error codes: how each is to be read, what it means, what to do. Pure.

Sources: ``errors.md`` and ``rest-api.md`` of binance-spot-api-docs; -2008 is seen on ``/sapi`` only.
"""

from __future__ import annotations

from dataclasses import dataclass

from fortctl.ports import Outcome


@dataclass(frozen=True)
class Code:
    """One code: how a robot reads it, what it means, what a person does about it."""

    outcome: Outcome
    meaning: str
    remedy: str


_LOOK_UP = "the outcome is unknown: fortctl looks the order up by its client order id before it does anything else"
_BUG = "the request was malformed: report it, with what you did"

CODES: dict[int, Code] = {
    -1000: Code(Outcome.UNKNOWN, "an unknown error occurred while Binance processed the request", _LOOK_UP),
    -1001: Code(Outcome.UNKNOWN, "an internal error of Binance; the request may have been processed", _LOOK_UP),
    -1002: Code(Outcome.KEY_REFUSED, "the key is not authorised for this request", "check the key on Binance's page"),
    -1003: Code(Outcome.BUSY, "too many requests from this address", "wait as long as Binance says (Retry-After)"),
    -1006: Code(Outcome.UNKNOWN, "an unexpected answer inside Binance; execution status unknown", _LOOK_UP),
    -1007: Code(Outcome.UNKNOWN, "a time-out inside Binance; execution status unknown", _LOOK_UP),
    -1008: Code(Outcome.UNKNOWN, "Binance is overloaded with other requests", _LOOK_UP),
    -1013: Code(Outcome.REFUSED, "the order breaks one of the symbol's filters", "change price, quantity or order size"),
    -1015: Code(Outcome.BUSY, "too many new orders", "wait for the window that the message names"),
    -1016: Code(Outcome.REFUSED, "this service is no longer available", "upgrade fortctl"),
    -1020: Code(Outcome.REFUSED, "this operation is not supported", _BUG),
    -1021: Code(Outcome.CLOCK, "the timestamp is outside the receive window", "set this machine's clock (NTP)"),
    -1022: Code(Outcome.KEY_REFUSED, "the signature is not valid: the secret does not belong to the API key",
                "enter both halves of the key again, or create a new key"),
    -1100: Code(Outcome.REFUSED, "a parameter has illegal characters", _BUG),
    -1101: Code(Outcome.REFUSED, "too many parameters, or one twice", _BUG),
    -1102: Code(Outcome.REFUSED, "a mandatory parameter is missing or malformed", _BUG),
    -1103: Code(Outcome.REFUSED, "an unknown parameter was sent", _BUG),
    -1104: Code(Outcome.REFUSED, "not all parameters that were sent were read", _BUG),
    -1105: Code(Outcome.REFUSED, "a parameter was empty", _BUG),
    -1106: Code(Outcome.REFUSED, "a parameter was sent where it is not required", _BUG),
    -1111: Code(Outcome.REFUSED, "a number has too much precision for the symbol", "round to the symbol's tick and step"),
    -1114: Code(Outcome.REFUSED, "timeInForce was sent where it is not required", _BUG),
    -1115: Code(Outcome.REFUSED, "invalid timeInForce", _BUG),
    -1116: Code(Outcome.REFUSED, "invalid order type", _BUG),
    -1117: Code(Outcome.REFUSED, "invalid side", _BUG),
    -1121: Code(Outcome.REFUSED, "invalid symbol", "check the symbol's name, for example BTCUSDT"),
    -1128: Code(Outcome.REFUSED, "this combination of optional parameters is invalid", _BUG),
    -1130: Code(Outcome.REFUSED, "the data sent for a parameter is not valid", _BUG),
    -1131: Code(Outcome.REFUSED, "recvWindow is too large", _BUG),
    -2008: Code(Outcome.KEY_REFUSED, "Binance knows no such API key: it was deleted, or never existed",
                "create a new key on Binance's page and enter it"),
    -2010: Code(Outcome.REFUSED, "the new order was refused; the message says why", "see the message"),
    -2011: Code(Outcome.ABSENT, "the cancel was refused: no such open order", "it was filled or cancelled already"),
    -2013: Code(Outcome.ABSENT, "no such order, or not visible yet", "look again a moment later"),
    -2014: Code(Outcome.KEY_REFUSED, "the API key's format is invalid", "copy the API key again from Binance's page"),
    -2015: Code(Outcome.KEY_REFUSED,
                "the key does not exist, or this address is not on its IP list, or it lacks the right for this action",
                "'fortctl keys verify' tells these apart as far as Binance lets it"),
    -2021: Code(Outcome.REFUSED, "an order cancel-replace failed in part", "see the answer's data"),
    -2022: Code(Outcome.REFUSED, "an order cancel-replace failed", "see the answer's data"),
    -2026: Code(Outcome.ABSENT, "the order was archived: cancelled or expired without a fill over 90 days ago", "it is dead"),
    -2038: Code(Outcome.REFUSED, "the order amendment was refused", "see the message"),
    -2039: Code(Outcome.REFUSED, "client order id and order id do not belong together", _BUG),
    -9000: Code(Outcome.REFUSED, "the operation is not supported, or not for this account or key; the message says why",
                "see the message; where the sub-account may have no more keys, delete those that nobody uses"),
}  # fmt: skip

# -2010 and -2011 fold several refusals into one code each; the text tells them apart (errors.md).
_TEXTS: tuple[tuple[str, Outcome], ...] = (
    ("Duplicate order sent.", Outcome.DUPLICATE),
    ("Order would immediately match and take.", Outcome.WOULD_TAKE),
    ("Account has insufficient balance for requested action.", Outcome.NO_FUNDS),
    # Nothing that trades is taken any more: looked at as a lost key is, and named by what the account says then.
    ("This account may not place or cancel orders.", Outcome.KEY_REFUSED),
    ("This action is disabled on this account.", Outcome.KEY_REFUSED),
)


def classify(http_status: int | None, code: int | None, message: str) -> Outcome:
    """Return how an answer that is not a success must be read.

    Args:
        http_status: of the answer, or None for an answer on a socket.
        code: Binance's code, or None where the body was not Binance's.
        message: Binance's text.
    """
    if http_status in (418, 429):
        return Outcome.BUSY
    if http_status is not None and http_status >= 500:
        # Never "failed", whatever the body says (rest-api.md, "HTTP Return Codes").
        return Outcome.UNKNOWN
    if code in (-2010, -2011):
        return next((outcome for text, outcome in _TEXTS if text in message), CODES[code].outcome)
    if code in CODES:
        return CODES[code].outcome
    if http_status == 451:
        # Refused at the edge for the country or the address: nothing reached the exchange.
        return Outcome.UNREACHABLE
    if http_status == 403:
        # The firewall, not the key: nothing reached the exchange, and asking on only makes it worse.
        return Outcome.BUSY
    if http_status == 401:
        return Outcome.KEY_REFUSED
    return Outcome.REFUSED if code else Outcome.UNKNOWN
