"""Any bytes where strangers can hand us some (the long campaign is ``make nightly``)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.fuzz_targets import TARGETS, mutated


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@settings(max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes(name: str, data: st.DataObject) -> None:
    target, seeds = TARGETS[name]
    target(data.draw(st.one_of(mutated(seeds()), st.binary(max_size=400))))
