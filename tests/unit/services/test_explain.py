"""Every word that fortctl gives as a reason can be asked about."""

from __future__ import annotations

import re

import pytest

from fortctl.errors import NotFoundError, error_classes
from fortctl.keys.policy import REASONS, describe_rejection, remedy_for
from fortctl.robot.core.hold_reasons import HoldCode
from fortctl.robot.process.metrics import STATES
from fortctl.services.explain import explain_code
from support.harness import REPOSITORY


def test_no_error_is_explained_with_another_ones_words() -> None:
    meanings = [explain_code(code).meaning for code in error_classes()]
    assert not [text for text in meanings if "Base of every error" in text]
    assert explain_code("ROBOT_TIMEOUT").meaning != explain_code("INTERNAL").meaning


def test_every_reason_that_a_robot_gives_is_explained() -> None:
    source = "".join(path.read_text() for path in (REPOSITORY / "src/fortctl/robot").rglob("*.py"))
    words = {*re.findall(r'f?"([A-Z_]{3,}): |BlockedReason\(\s*"([A-Z_]{3,})"', source)}
    words = {*(word for pair in words for word in pair if word), *HoldCode}
    assert {"GAP", "DRIFT", "UNKNOWN_ORDER", "SELL_WAITS", "BOUNDS", "HALTED", "EXCHANGE", "DEADMAN"} <= words
    for word in (*words, "BALANCE"):
        assert explain_code(word).remedy, word


@pytest.mark.parametrize("state", [state for state in STATES if state not in ("running", "stopped", "verifying")])
def test_every_state_in_which_a_person_may_ask_why_is_explained(state: str) -> None:
    assert explain_code(state).remedy


# A reason: of a Rejection, a Cause or a verdict, in an error's details, or in the table of certain codes.
GIVEN = re.compile(
    r'''(?:Rejection|Cause)\(\s*"([a-z_]+)"|"?\breason"?(?::|=) ?"([a-z_]+)"|^    \(-\d+, "([a-z_]+)"''', re.M
)


def test_every_reason_of_a_refused_key_has_a_description_and_a_remedy_and_is_explained() -> None:
    source = REPOSITORY / "src/fortctl"
    files = [
        *sorted((source / "keys").glob("*.py")),
        *sorted((source / "services/keys").glob("*.py")),
        source / "robot/core/key_loss.py",
        source / "robot/trading/key_monitor.py",
    ]
    given = {word for path in files for words in GIVEN.findall(path.read_text()) for word in words if word}
    assert {"unknown_key", "ip_not_listed", "swapped", "policy", "trading_right_removed", "same_key"} <= given
    assert given == REASONS
    for reason in REASONS:
        answer = explain_code(reason)
        assert answer.code == reason and explain_code(reason.upper()) == answer
        assert answer.meaning == describe_rejection(reason) != reason.replace("_", " ")
        assert answer.remedy and answer.remedy == remedy_for(reason)


def test_an_unknown_word_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        explain_code("NONSENSE")
