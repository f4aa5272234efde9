"""What a code means and what to do: Binance's codes, fortctl's own, and the reasons why a key is refused."""

from __future__ import annotations

import inspect
from typing import Any

from fortctl.errors import FortctlError, InternalError, NotFoundError, error_classes
from fortctl.exchange.error_codes import CODES
from fortctl.keys.policy import REASONS, describe_rejection, remedy_for
from fortctl.services.robot.messages import STATE_MESSAGES


def explain(code: str) -> dict[str, Any]:
    """Return what is known of a code. Raises ``NotFoundError``."""
    text = code.strip().upper()
    classes = error_classes()
    if text in classes:
        cls = classes[text] if classes[text] is not FortctlError else InternalError
        return {
            "code": text,
            "meaning": inspect.cleandoc(cls.__doc__ or "").split("\n")[0].rstrip(".") or text.replace("_", " ").lower(),
            "remedy": cls.default_hint,
            "exit_code": cls.exit_code,
            "source": "fortctl",
        }
    if text in STATE_MESSAGES:
        meaning, remedy = STATE_MESSAGES[text]
        return {"code": text, "meaning": meaning, "remedy": remedy, "source": "fortctl"}
    reason = text.lower()
    if reason in REASONS:
        return {
            "code": reason,
            "meaning": describe_rejection(reason),
            "remedy": remedy_for(reason),
            "source": "fortctl",
        }
    number = text if text.startswith("-") else f"-{text}"
    if number[1:].isdigit() and int(number) in CODES:
        found = CODES[int(number)]
        return {
            "code": number,
            "meaning": found.meaning,
            "remedy": found.remedy,
            "outcome": found.outcome.value,
            "source": "Binance, errors.md",
        }
    raise NotFoundError(
        "this code is not known", hint="give a Binance code such as -2015, or a fortctl code such as KEY_POLICY"
    )
