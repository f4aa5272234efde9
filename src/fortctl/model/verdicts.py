"""What the exchange says about a key, and what fortctl makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fortctl.model.restrictions import KeyRestrictions


@dataclass(frozen=True)
class PolicyVerdict:
    """How a key's permissions compare with its role.

    Attributes:
        ok: nothing is missing and nothing is in excess.
        missing: permissions that the role requires and the key lacks.
        excess: permissions that the key has and the role forbids, except those accepted with ``--allow``.
        warnings: ``(code, message)`` pairs, for example an unrestricted IP list.
        lapsed: the trading permission is missing because it has expired.
        unrestricted: the key may trade and works from any IP address, which nobody accepted (``--allow``). A new key is
            then refused; one that is stored stays in use, with a warning.
    """

    ok: bool
    missing: tuple[str, ...] = ()
    excess: tuple[str, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    lapsed: bool = False
    unrestricted: bool = False


@dataclass(frozen=True)
class KeyVerdict:
    """The result of verifying a key at the exchange.

    Attributes:
        accepted: the exchange accepts the key for signed reading.
        reason: ``ok``, or why not (``unknown_key``, ``wrong_secret``, ``malformed_key``, ``refused``,
            ``other_account``, ``shared_between_roles``, ``policy`` …).
        restrictions: the key's permissions; None where the target does not tell them.
        policy: their comparison with the role; None where they are not known.
        uid: the account's number at the exchange, where the key was accepted.
        latency_ms: round trip of the signed call.
        clock_skew_ms: the exchange's clock minus the local clock.
        exchange_code, http_status, exchange_message: the exchange's answer to a rejected key.
        certainty: how certain the rejection's reason is: ``certain``, ``likely`` or ``possible``.
        why: the evidence of a rejection, as text; None where the reason says it all.
        seen_from: the address that the exchange saw, where its rejection names it.
        can_trade: the account may trade (which says nothing about the key).
        warnings: ``(code, message)`` pairs, the policy's among them.
        rights_unknown: why the exchange did not say what the key may do, although it could; empty where it did, where
            the target has no such call, and where a person accepted that (``--allow unknown_rights``).
    """

    accepted: bool
    reason: str
    restrictions: KeyRestrictions | None = None
    policy: PolicyVerdict | None = None
    uid: int | None = None
    latency_ms: float | None = None
    clock_skew_ms: float | None = None
    exchange_code: int | None = None
    http_status: int | None = None
    exchange_message: str = ""
    certainty: str = "certain"
    why: str | None = None
    seen_from: str | None = None
    can_trade: bool = True
    warnings: tuple[tuple[str, str], ...] = ()
    rights_unknown: str = ""

    def evidence(self) -> dict[str, str]:
        """Return what an error's ``details`` say of a rejection; nothing where it has no evidence."""
        if self.why is None:
            return {}
        seen_from = {"seen_from": self.seen_from} if self.seen_from else {}
        return {"certainty": self.certainty, "why": self.why, **seen_from}
