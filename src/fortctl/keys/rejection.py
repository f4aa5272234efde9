"""Why the exchange refuses a key, and how sure that is. Pure.

Binance folds several causes into -2015; two calls without an effect tell most of them apart (binance.md section 3): the
account (``/api``) and the key's own restrictions (``/sapi``, which has -2008 for a key that does not exist).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fortctl.ports import ExchangeError, Outcome

CERTAIN, LIKELY, POSSIBLE = "certain", "likely", "possible"
_ADDRESS = re.compile(r"request ip: ?([0-9A-Fa-f.:]{3,45})")


@dataclass(frozen=True)
class Rejection:
    """A refusal, read.

    Attributes:
        reason: ``malformed_key``, ``wrong_secret``, ``unknown_key``, ``right_missing``, ``ip_not_listed``, ``refused``.
        certainty: ``certain``, ``likely`` or ``possible``.
        why: what it was read from, in words.
        fault: the answer that tells most.
        address: the address that the exchange saw, where it said so.
    """

    reason: str
    certainty: str
    why: str
    fault: ExchangeError
    address: str | None = None


def diagnose_rejection(account: ExchangeError | None, restrictions: ExchangeError | None) -> Rejection | None:
    """Read what the two calls answered.

    Args:
        account: the fault of the signed account call, or None where it was answered.
        restrictions: the fault of the signed call about the key itself, or None where it was answered.

    Returns:
        None: neither of them refuses the key.
    """
    faults = [fault for fault in (account, restrictions) if fault is not None and fault.outcome is Outcome.KEY_REFUSED]
    if not faults:
        return None
    for code, reason, why in _TELLING:
        for fault in faults:
            if fault.code == code:
                return Rejection(reason, CERTAIN, why, fault)
    address = next((match[1] for fault in faults if (match := _ADDRESS.search(fault.message))), None)
    if len(faults) == 2:
        why = (
            "the exchange refuses both the account and the key's own page, but knows the key: the address is not listed"
        )
        return Rejection(
            "ip_not_listed",
            LIKELY,
            f"{why} (or it lacks the right to read, or the address is banned)",
            faults[0],
            address,
        )
    if account in faults and restrictions is None:
        return Rejection(
            "right_missing", CERTAIN, "the key may tell its rights, but may not read the account", faults[0]
        )
    why = "the key does not exist, or its list lacks this address, or it lacks the right"
    return Rejection("refused", POSSIBLE, f"{why}; this exchange does not say which", faults[0], address)


_TELLING = (
    (-2014, "malformed_key", "the exchange says that the API key has a wrong format"),
    (-1022, "wrong_secret", "the exchange knows the API key, and the signature is not that of its secret"),
    (-2008, "unknown_key", "the exchange says that there is no such API key"),
)
