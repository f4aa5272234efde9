"""What a code means and what to do: Binance's codes, fortctl's own, and the reasons why a key is refused."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from fortctl.errors import FortctlError, InternalError, NotFoundError, error_classes
from fortctl.exchange.error_codes import CODES
from fortctl.keys.policy import REASONS, describe_rejection, remedy_for
from fortctl.services.robot.messages import STATE_MESSAGES


@dataclass(frozen=True)
class Explanation:
    """What a code means.

    Attributes:
        remedy: what to do about it; None where each case has its own.
        source: who defines the code: fortctl or Binance.
        exit_code: the exit code of a command that ends with it (fortctl's errors).
        outcome: what an answer with it says about the request (Binance's codes; :class:`fortctl.ports.Outcome`).
    """

    code: str
    meaning: str
    remedy: str | None
    source: str = "fortctl"
    exit_code: int | None = None
    outcome: str | None = None

    def as_json(self) -> dict[str, Any]:
        optional = {"exit_code": self.exit_code, "outcome": self.outcome}
        return {
            "code": self.code,
            "meaning": self.meaning,
            "remedy": self.remedy,
            **{name: value for name, value in optional.items() if value is not None},
            "source": self.source,
        }


def explain_code(code: str) -> Explanation:
    """Return what a code means. Raises ``NotFoundError`` if nothing is known of it."""
    text = code.strip().upper()
    classes = error_classes()
    if text in classes:
        cls = classes[text] if classes[text] is not FortctlError else InternalError
        meaning = inspect.cleandoc(cls.__doc__ or "").split("\n")[0].rstrip(".") or text.replace("_", " ").lower()
        return Explanation(text, meaning, cls.default_hint, exit_code=cls.exit_code)
    if text in STATE_MESSAGES:
        meaning, remedy = STATE_MESSAGES[text]
        return Explanation(text, meaning, remedy)
    reason = text.lower()
    if reason in REASONS:
        return Explanation(reason, describe_rejection(reason), remedy_for(reason))
    number = text if text.startswith("-") else f"-{text}"
    if number[1:].isdigit() and int(number) in CODES:
        entry = CODES[int(number)]
        return Explanation(number, entry.meaning, entry.remedy, "Binance, errors.md", outcome=entry.outcome.value)
    raise NotFoundError(
        "this code is not known", hint="give a Binance code such as -2015, or a fortctl code such as KEY_POLICY"
    )
