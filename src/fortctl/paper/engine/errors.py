"""Binance's errors as the paper exchange returns them: code, text, HTTP status (errors.md; rest-api.md). Pure."""

from __future__ import annotations

from typing import Any


class BinanceError(Exception):
    """A request that Binance would refuse.

    Attributes:
        code: Binance's code.
        message: its exact text.
        status: the HTTP status.
        data: further data of the body (cancelReplace), or None.
    """

    def __init__(self, code: int, message: str, status: int = 400, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.data = data

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"code": self.code, "msg": self.message}
        if self.data is not None:
            body["data"] = self.data
        return body


def missing(name: str) -> BinanceError:
    return BinanceError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def either(first: str, second: str) -> BinanceError:
    return BinanceError(-1102, f"Param '{first}' or '{second}' must be sent, but both were empty/null!")


def illegal(name: str, legal: str) -> BinanceError:
    return BinanceError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def not_required(name: str) -> BinanceError:
    return BinanceError(-1106, f"Parameter '{name}' sent when not required.")


def bad_value(name: str) -> BinanceError:
    return BinanceError(-1130, f"Data sent for parameter '{name}' is not valid.")


def bad_combination() -> BinanceError:
    return BinanceError(-1128, "Combination of optional parameters invalid.")


def filter_failure(name: str) -> BinanceError:
    return BinanceError(-1013, f"Filter failure: {name}")


def unsupported(kind: str) -> BinanceError:
    """Return the refusal of an order that the symbol's flags exclude, before the matching engine."""
    return BinanceError(-1013, f"{kind} orders are not supported for this symbol.")


def new_order_refused(text: str) -> BinanceError:
    return BinanceError(-2010, text)


def bad_key() -> BinanceError:
    return BinanceError(-2015, "Invalid API-key, IP, or permissions for action.", 401)


MALFORMED_KEY = BinanceError(-2014, "API-key format invalid.", 401)
UNKNOWN_KEY_SAPI = BinanceError(-2008, "Invalid Api-Key ID.", 400)
BAD_SIGNATURE = BinanceError(-1022, "Signature for this request is not valid.")
LATE = BinanceError(-1021, "Timestamp for this request is outside of the recvWindow.")
EARLY = BinanceError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
WIDE_WINDOW = BinanceError(-1131, "recvWindow must be less than 60000")
# Binance does not document its answer at the limit of keys; decision 0007.
KEYS_FULL = BinanceError(-9000, "The sub-account has reached the maximum number of API keys.")
BAD_SYMBOL = BinanceError(-1121, "Invalid symbol.")
BAD_SIDE = BinanceError(-1117, "Invalid side.")
BAD_TYPE = BinanceError(-1116, "Invalid orderType.")
BAD_FORCE = BinanceError(-1115, "Invalid timeInForce.")
BAD_INTERVAL = BinanceError(-1120, "Invalid interval.")
DUPLICATE_PARAMETER = BinanceError(-1101, "Duplicate values for a parameter detected.")
NO_SUCH_ORDER = BinanceError(-2013, "Order does not exist.")
NO_SUCH_LIST = BinanceError(-2018, "Order list does not exist.")
WRONG_CLIENT_ID = BinanceError(-2039, "Client order ID is not correct for this order ID.")
UNKNOWN_ORDER = BinanceError(-2011, "Unknown order sent.")
RESTRICTED_CANCEL = BinanceError(-2011, "Order was not canceled due to cancel restrictions.")
NO_FUNDS = new_order_refused("Account has insufficient balance for requested action.")
WOULD_TAKE = new_order_refused("Order would immediately match and take.")
WOULD_TRIGGER = new_order_refused("Order would trigger immediately.")
DUPLICATE = new_order_refused("Duplicate order sent.")
CLOSED = new_order_refused("Market is closed.")
MAY_NOT_TRADE = new_order_refused("This account may not place or cancel orders.")
WRONG_PRICES = new_order_refused("The relationship of the prices for the orders is not correct.")
NO_BOOK = new_order_refused("Order book liquidity is less than symbol minimum quantity.")
BAD_COMBINATION = BinanceError(-1014, "Unsupported order combination.")
BAD_STP = BinanceError(-1013, "This symbol does not allow the specified self-trade prevention mode.")
NO_CHANGE = BinanceError(-2038, "The requested action would change no state; rejecting")
NO_AMEND = BinanceError(-2038, "Order amend is not supported for this symbol.")
NO_INCREASE = BinanceError(-2038, "Order amend (quantity increase) is not supported.")
NO_REPLACE = BinanceError(-1013, "Order cancel-replace is not supported for this symbol.")
NO_REFERENCE = BinanceError(-2043, "This symbol doesn't have a reference price.")
INTERNAL = BinanceError(-1000, "An unknown error occurred while processing the request.", 500)
BAD_PRECISION = "Parameter '{}' has too much precision."
