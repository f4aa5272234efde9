"""Binance's refusals as the paper exchange gives them: code, text, HTTP status (errors.md; rest-api.md). Pure."""

from __future__ import annotations


class Refusal(Exception):
    """A request that Binance would refuse.

    Attributes:
        code: Binance's code.
        message: its exact text.
        status: the HTTP status.
    """

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status

    def body(self) -> dict[str, object]:
        return {"code": self.code, "msg": self.message}


def missing(name: str) -> Refusal:
    return Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal(name: str, legal: str) -> Refusal:
    return Refusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def filter_failure(name: str) -> Refusal:
    return Refusal(-1013, f"Filter failure: {name}")


def new_order_refused(text: str) -> Refusal:
    return Refusal(-2010, text)


def bad_key() -> Refusal:
    return Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)


MALFORMED_KEY = Refusal(-2014, "API-key format invalid.", 401)
UNKNOWN_KEY_SAPI = Refusal(-2008, "Invalid Api-Key ID.", 400)
BAD_SIGNATURE = Refusal(-1022, "Signature for this request is not valid.")
LATE = Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")
EARLY = Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
WIDE_WINDOW = Refusal(-1131, "recvWindow must be less than 60000")
BAD_SYMBOL = Refusal(-1121, "Invalid symbol.")
NO_SUCH_ORDER = Refusal(-2013, "Order does not exist.")
UNKNOWN_ORDER = Refusal(-2011, "Unknown order sent.")
NO_FUNDS = new_order_refused("Account has insufficient balance for requested action.")
WOULD_TAKE = new_order_refused("Order would immediately match and take.")
DUPLICATE = new_order_refused("Duplicate order sent.")
BAD_PRECISION = "Parameter '{}' has too much precision."
