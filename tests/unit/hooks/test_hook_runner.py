"""A hook runs under its supervisor: its end, its standard error and its time limit come back."""

from __future__ import annotations

import sys

from fortctl.hooks.runner import SUPERVISOR, SubprocessHookRunner


def test_supervisor_program_is_shipped() -> None:
    assert SUPERVISOR.is_file()


def test_started_hook_reports_exit_code_and_standard_error() -> None:
    program = "import sys; sys.stderr.write(sys.stdin.read()); sys.exit(3)"
    outcome = (
        SubprocessHookRunner()
        .start([sys.executable, "-c", program], b'{"event": "on-held"}', limit_s=20.0)
        .outcome(20.0)
    )
    assert outcome is not None
    assert (outcome.exit_code, outcome.timed_out, outcome.stderr) == (3, False, '{"event": "on-held"}')


def test_hook_over_its_time_limit_is_ended() -> None:
    outcome = (
        SubprocessHookRunner()
        .start([sys.executable, "-c", "import time; time.sleep(60)"], b"{}", limit_s=0.3)
        .outcome(20.0)
    )
    assert outcome is not None and outcome.timed_out
