"""The error tree has the codes and exit codes that scripts rely on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fortctl.errors import (
    ExchangeAnswer,
    FortctlError,
    InternalError,
    KeyRejectedError,
    Terminated,
    error_classes,
    error_from_json,
)

# What scripts rely on: neither a code nor its exit code may change.
CONTRACT = {
    "INTERNAL": 1,
    "USAGE": 2,
    "BAD_INPUT": 2,
    "CONFIG": 2,
    "KEY_REJECTED": 3,
    "KEY_POLICY": 4,
    "VAULT_LOCKED": 5,
    "VAULT_DAMAGED": 6,
    "NOT_FOUND": 7,
    "CONFLICT": 8,
    "ROBOT_UNREACHABLE": 9,
    "ROBOT_TIMEOUT": 9,
    "EXCHANGE_UNREACHABLE": 10,
    "EXCHANGE_BUSY": 10,
    "CLOCK_SKEW": 10,
    "CONFIRMATION_NEEDED": 11,
    "ACTION_REQUIRED": 12,
    "KEY_TOO_OLD": 13,
}


def test_every_code_of_the_contract_and_no_other() -> None:
    assert {code: cls.exit_code for code, cls in error_classes().items()} == CONTRACT


@pytest.mark.parametrize("code", CONTRACT)
def test_every_error_says_what_to_do(code: str) -> None:
    error = error_classes()[code]("it broke")
    assert error.hint and not error.hint.endswith(".") and error.hint[:1].islower()


def test_no_blanket_handler_takes_a_termination_for_an_error() -> None:
    assert not issubclass(Terminated, Exception)


def test_the_json_object_has_the_contracted_fields() -> None:
    error = KeyRejectedError(
        "it does not fit", details={"reason": "unknown"}, exchange=ExchangeAnswer(401, -2015, "no")
    )
    assert error.as_json() == {
        "code": "KEY_REJECTED",
        "message": "it does not fit",
        "hint": KeyRejectedError.default_hint,
        "exit_code": 3,
        "exchange": {"http_status": 401, "code": -2015, "message": "no"},
        "details": {"reason": "unknown"},
    }


@given(
    code=st.sampled_from(sorted(CONTRACT)),
    message=st.text(max_size=40),
    hint=st.text(min_size=1, max_size=40),
    details=st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=8)),
    answer=st.none()
    | st.builds(
        ExchangeAnswer, st.none() | st.integers(100, 599), st.none() | st.integers(-9999, 0), st.text(max_size=20)
    ),
)
def test_an_error_survives_the_way_from_one_process_to_another(
    code: str, message: str, hint: str, details: dict[str, object], answer: ExchangeAnswer | None
) -> None:
    error = error_classes()[code](message, hint=hint, details=details, exchange=answer)
    copy = error_from_json(json.loads(json.dumps(error.as_json())))
    assert type(copy) is type(error) and copy.as_json() == error.as_json()


@pytest.mark.parametrize("odd", [{}, {"code": "NO_SUCH_CODE"}, {"code": None, "details": None, "exchange": 5}])
def test_an_error_that_cannot_be_understood_is_internal(odd: dict[str, object]) -> None:
    assert type(error_from_json(odd)) in (InternalError, FortctlError)
    assert error_from_json(odd).exit_code == 1
