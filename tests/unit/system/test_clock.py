"""The machine's clocks."""

from __future__ import annotations

import sys
import time

import pytest

from fortctl.system.clock import SystemClock


@pytest.mark.skipif(sys.platform != "linux", reason="CLOCK_BOOTTIME is Linux's")
def test_the_monotonic_clock_counts_the_time_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(time, "clock_gettime", lambda clock: asked.append(clock) or 12.5)
    assert SystemClock().monotonic() == 12.5 and asked == [time.CLOCK_BOOTTIME]
