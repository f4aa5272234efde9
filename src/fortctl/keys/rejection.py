"""Why the exchange rejects a key, and how certain that is. Pure.

Binance answers -2015 for several causes. Two calls without effect distinguish most of them (errors.md): the
account (``/api``), and the key's own restrictions (``/sapi``, which answers -2008 for a key that does not exist).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fortctl.ports import ExchangeError, Outcome

CERTAIN, LIKELY, POSSIBLE = "certain", "likely", "possible"
_ADDRESS = re.compile(r"request ip: ?([0-9A-Fa-f.:]{3,45})")


@dataclass(frozen=True)
class Rejection:
    """Why a key is rejected.

    Attributes:
        reason: one of :data:`fortctl.keys.policy.REASONS`.
        certainty: ``certain``, ``likely`` or ``possible``.
        why: the evidence, as text.
        fault: the answer that says most.
        address: the address that the exchange saw, where its answer names it.
    """

    reason: str
    certainty: str
    why: str
    fault: ExchangeError
    address: str | None = None


def diagnose_rejection(account: ExchangeError | None, restrictions: ExchangeError | None) -> Rejection | None:
    """Find the reason from the answers of the two calls.

    Args:
        account: the error of the signed account call; None: it succeeded.
        restrictions: the error of the signed call for the key's restrictions; None: it succeeded.

    Returns:
        The reason; None if neither call rejects the key.
    """
    faults = [fault for fault in (account, restrictions) if fault is not None and fault.outcome is Outcome.KEY_REFUSED]
    if not faults:
        return None
    for code, reason, why in _CERTAIN_CODES:
        for fault in faults:
            if fault.code == code:
                return Rejection(reason, CERTAIN, why, fault)
    address = next((match[1] for fault in faults if (match := _ADDRESS.search(fault.message))), None)
    if len(faults) == 2:
        why = "the exchange knows the key but rejects both calls, so this address is probably not on its IP list"
        return Rejection(
            "ip_not_listed",
            LIKELY,
            f"{why} (or the key may not read, or the address is banned)",
            faults[0],
            address,
        )
    if account in faults and restrictions is None:
        return Rejection(
            "right_missing", CERTAIN, "the key may read its own permissions, but not the account", faults[0]
        )
    why = "the key does not exist, or its IP list lacks this address, or it lacks a permission"
    return Rejection("refused", POSSIBLE, f"{why}; this exchange does not say which", faults[0], address)


_CERTAIN_CODES = (
    (-2014, "malformed_key", "the exchange says that the API key is malformed"),
    (-1022, "wrong_secret", "the exchange knows the API key, and the signature was made with another secret"),
    (-2008, "unknown_key", "the exchange says that there is no such API key"),
)
