"""A process that has imported the tests and the product, and runs chosen tests of a mutant in a child it forks.

The child exchanges the code of one function, so that a mutant costs no more than its tests. What the import of a
module runs cannot be exchanged: such mutants run in a process of their own (``run.py``).

Requests and answers are lines of JSON on two pipes, since the tests write to the standard streams.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import IO, Any

import pytest

MEMORY = 8 << 30


class Loop:
    """A plugin of pytest that takes the place of the loop over all collected tests.

    Args:
        requests, answers: the pipes.
    """

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests = requests
        self._answers = answers
        self._failed: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        self._answer({"tests": [name for name, item in items.items() if "postgres" not in _fixtures(item)]})
        for line in self._requests:
            request = json.loads(line)
            chosen = [items[name] for name in request["tests"]]
            work = partial(_record if request["record"] else self._run, chosen, request)
            self._answer(self._forked(request, work))
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.append(report.nodeid)

    def _answer(self, answer: dict[str, Any]) -> None:
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()

    def _run(self, items: list[pytest.Item], request: dict[str, Any]) -> str:
        """Run tests until one fails; return its name."""
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._failed:
                item.session._setupstate.teardown_exact(None)
                return self._failed[0]
        return ""

    def _child(self, request: dict[str, Any], work: Callable[[], str]) -> dict[str, Any]:
        if request["file"]:
            try:
                exchange_code(request["file"], request["function"], request["nth"], request["source"])
            except (LookupError, ValueError) as error:
                return {"failed": "", "planted": False, "why": str(error)}
        return {"failed": work(), "planted": True}

    def _forked(self, request: dict[str, Any], work: Callable[[], str]) -> dict[str, Any]:
        """Return what a child's work returns."""
        answer = Path(request["answer"])
        answer.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setsid()
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
                answer.write_text(json.dumps(self._child(request, work)), encoding="utf-8")
                code = 0
            finally:
                os._exit(code)
        ended = _wait_for(child, request["limit_s"])
        # What its tests started and left.
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if not ended:
            return {"failed": "", "ended": False, "planted": True}
        # One that could say nothing was ended by its mutant.
        said = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else {"failed": "(the process ended)"}
        return {"ended": True, "planted": True, **said}


def exchange_code(file: str, function: str, nth: int, source: str) -> None:
    """Give every function that was made from one place of a module the code that another source has there.

    Raises:
        LookupError: the module has no such function, or none was made.
    """
    codes = [code for code in _codes(compile(source, file, "exec")) if code.co_qualname == function]
    made = [
        one
        for one in gc.get_objects()
        if type(one) is FunctionType and one.__code__.co_filename == file and one.__code__.co_qualname == function
    ]
    if not made:
        raise LookupError(f"no function {function} was made of {file}")
    starts = sorted({one.__code__.co_firstlineno for one in made})
    for one in made:
        if starts.index(one.__code__.co_firstlineno) == nth or len(codes) == 1:
            one.__code__ = codes[nth]


def _codes(code: CodeType) -> list[CodeType]:
    found = [one for one in code.co_consts if isinstance(one, CodeType)]
    return [inner for one in found for inner in (one, *_codes(one))]


def _fixtures(item: pytest.Item) -> list[str]:
    return list(getattr(item, "fixturenames", ()))


def _record(items: list[pytest.Item], request: dict[str, Any]) -> str:
    """Run tests, and write down which lines each reaches and how long it takes."""
    names = {f"{request['root']}/{file}": file for file in request["files"]}
    found: dict[str, dict[str, Any]] = {}
    reports: list[pytest.TestReport] = []

    class Reports:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            reports.append(report)

    for item, following in zip(items, [*items[1:], None], strict=True):
        lines: dict[str, set[int]] = {}
        trace = _tracing(names, lines)
        if not item.config.pluginmanager.has_plugin("reports-of-lines"):
            item.config.pluginmanager.register(Reports(), "reports-of-lines")
        reports.clear()
        began = time.perf_counter()
        threading.settrace(trace)
        sys.settrace(trace)
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        finally:
            sys.settrace(None)
            threading.settrace(None)
        passed = all(report.passed for report in reports)
        found[item.nodeid] = {
            "passed": passed,
            "seconds": round(time.perf_counter() - began, 3),
            "lines": {file: sorted(reached) for file, reached in lines.items()},
        }
    Path(request["record"]).write_text(json.dumps(found), encoding="utf-8")
    return ""


def _tracing(names: dict[str, str], lines: dict[str, set[int]]) -> Callable[[FrameType, str, object], Any]:
    def in_frame(frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            lines[names[frame.f_code.co_filename]].add(frame.f_lineno)
        return in_frame

    def trace(frame: FrameType, _event: str, _argument: object) -> Any:
        file = names.get(frame.f_code.co_filename)
        if file is None:
            return None
        lines.setdefault(file, set()).add(frame.f_lineno)
        return in_frame

    return trace


def _wait_for(child: int, limit_s: float) -> bool:
    """Wait for a child; return whether it ended before time ran out."""
    until = time.monotonic() + limit_s
    pause = 0.005
    while time.monotonic() < until:
        done, _status = os.waitpid(child, os.WNOHANG)
        if done:
            return True
        time.sleep(pause)
        pause = min(0.2, pause * 1.5)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main() -> int:
    reading, writing, folder, modules, *tests = sys.argv[1:]
    for module in modules.split(","):
        __import__(module)
    options = ["-q", "-n0", "-p", "no:cacheprovider", "--tb=line", f"--basetemp={folder}"]
    with os.fdopen(int(reading)) as requests, os.fdopen(int(writing), "w") as answers:
        return int(pytest.main([*options, *tests], plugins=[Loop(requests, answers)]))


if __name__ == "__main__":
    sys.exit(main())
