"""How commands about keys end: the error that says what is wrong with them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fortctl.errors import ExchangeAnswer, FortctlError, KeyPolicy, KeyRejected, KeyTooOld
from fortctl.keys.policy import LAPSED, LAPSED_REMEDY, remedy_of, ticking_hint, words_of
from fortctl.model import KeyCard, Role
from fortctl.timestamps import age_days

Warnings = tuple[tuple[str, str], ...]


def failure_of(results: list[dict[str, Any]], warnings: Warnings) -> FortctlError | None:
    """Return the error with which ``keys verify`` ends, the gravest first, or None when every key is good."""
    data = {"results": results}
    for result in results:
        if not result["accepted"] and result["reason"] != "other_account":
            answer = result["exchange"]
            return KeyRejected(
                f"the exchange does not accept the {result['role']} key: {words_of(result['reason'])}",
                hint=remedy_of(result["reason"]),
                details={
                    name: result[name] for name in ("role", "reason", "certainty", "why", "seen_from") if result[name]
                },
                exchange=ExchangeAnswer(answer["http_status"], answer["code"], answer["message"]) if answer else None,
                data=data,
                warnings=warnings,
            )
    for result in results:
        if result["reason"] == "other_account" or result["policy"]["ok"] is False:
            missing, excess = tuple(result["policy"]["missing"]), tuple(result["policy"]["excess"])
            hint = ticking_hint(Role(result["role"]), missing, excess) if missing or excess else None
            reason = "policy" if missing or excess else result["reason"]
            message = f"the {result['role']} key works, but it is not what the role allows"
            if result["policy"].get("lapsed") and not excess:
                reason, hint, message = "expired", LAPSED_REMEDY, f"the {result['role']} key's {LAPSED}"
            return KeyPolicy(
                message,
                hint=hint,
                details={
                    "role": result["role"],
                    "reason": reason,
                    "missing": list(missing),
                    "excess": list(excess),
                },
                data=data,
                warnings=warnings,
            )
    return None


def too_old(cards: Sequence[KeyCard], limit_ms: int, now: int, data: Mapping[str, Any]) -> KeyTooOld | None:
    """Return the error for keys older than ``limit_ms``, or None."""
    old = [card for card in cards if card.created_at is not None and now - card.created_at > limit_ms]
    if not old:
        return None
    named = ", ".join(f"the {card.role} key '{card.name}' ({age_days(card.created_at, now)} days)" for card in old)
    return KeyTooOld(
        f"past its rotation age: {named}",
        hint="rotate it: 'fortctl keys rotate --role site|robot|both'",
        details={"roles": [card.role.value for card in old]},
        data=dict(data),
    )
