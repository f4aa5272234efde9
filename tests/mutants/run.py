"""``make mutants``: change one thing in a copy of the source, and see that a test fails.

What is known of a mutant is kept in ``.mutants/``, so an interrupted run continues: a killed mutant is not run again as
long as the function that holds it stands, nor a survivor as long as the tests do. A run out of time counts as killed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mutants.mutations import Mutant, MutatedModule
from mutants.subjects import SLOW, SUBJECTS, Subject
from tools.docgen import rewrite_section

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "fortctl"
DOCUMENT = ROOT / "docs" / "testing.md"
EQUIVALENTS = Path(__file__).with_name("equivalents.toml")
SCORES, DECLARED = "mutants", "equivalents"
# A mutant that makes its tests this much slower is killed.
SLOWER, SPARE_S = 4.0, 20.0
# Of the tests that reach a line, the quickest that together take no longer than this.
ENOUGH_S = 15.0
# The same where all tests of the module would run, in a process of their own.
ENOUGH_ANEW_S = 8.0
# How long a process of its own takes to import the tests, at most.
START_S = 60.0
OUT_OF_TIME = "(no test ended in time)"


@dataclass(frozen=True)
class Equivalent:
    """Mutants that no behaviour tells from the source, and why."""

    file: str
    scope: str
    changes: tuple[str, ...]
    reason: str


def equivalents(path: Path = EQUIVALENTS) -> tuple[Equivalent, ...]:
    """Return the list of those that are declared."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("equivalent", [])
    return tuple(Equivalent(e["file"], e.get("scope", ""), tuple(e["changes"]), e["reason"]) for e in entries)


def modules_of(subject: Subject, source: Path = SOURCE) -> tuple[MutatedModule, ...]:
    """Return the modules of a subject."""
    return tuple(MutatedModule(source, file) for file in files_of_subject(subject, source))


def files_of_subject(subject: Subject, source: Path = SOURCE) -> list[str]:
    """Return the files of a subject, below the folder ``fortctl``."""
    path = source / subject.name
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [str(file.relative_to(source)) for file in files]


def is_declared(mutant: Mutant, declared: Iterable[Equivalent]) -> bool:
    return any((e.file, e.scope) == (mutant.file, mutant.scope) and mutant.change in e.changes for e in declared)


def sample(mutants: Iterable[Mutant], count: int, seed: int) -> list[Mutant]:
    """Return some of the mutants. A change elsewhere in the module leaves the choice as it is."""
    return sorted(mutants, key=lambda one: _digest(f"{seed}:{one.name}"))[:count]


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def files_of(paths: Iterable[str]) -> list[str]:
    """Return the files of tests below some paths."""
    files: set[Path] = set()
    for path in paths:
        files |= {ROOT / path} if path.endswith(".py") else set((ROOT / path).rglob("test_*.py"))
    return sorted({str(file.relative_to(ROOT)) for file in files if file.exists()} - SLOW)


@dataclass
class Reached:
    """Which tests reach which lines of which module."""

    tests: dict[str, dict[str, Any]] = field(default_factory=dict)

    def reaching(self, mutant: Mutant) -> list[str]:
        """Return the tests that reach a mutant, the quickest first; all of its module's where the import runs it."""
        first, last = mutant.lines
        # A test that reads a constant reaches no line of its module.
        users = {name.partition("::")[0] for name, test in self.tests.items() if test["lines"].get(mutant.file)}
        reaching = []
        for name, test in self.tests.items():
            lines = test["lines"].get(mutant.file, ())
            is_user = not mutant.function and name.partition("::")[0] in users
            if test["passed"] and (is_user or any(first <= at <= last for at in lines)):
                reaching.append((test["seconds"], name))
        chosen: list[str] = []
        total = 0.0
        for seconds, name in sorted(reaching):
            total += seconds
            if chosen and total > (ENOUGH_S if mutant.function else ENOUGH_ANEW_S):
                break
            chosen.append(name)
        return chosen

    def seconds(self, tests: Iterable[str]) -> float:
        return sum((float(self.tests[test]["seconds"]) for test in tests), 0.0)


class Laboratory:
    """A copy of the source, and the process that has imported it and the tests.

    Args:
        folder: for the copy and what tests write.
        modules: the files below ``src/fortctl`` that are mutated.
        tests: files of tests.
    """

    def __init__(self, folder: Path, modules: Sequence[str], tests: Sequence[str]) -> None:
        self._folder = folder
        self._source = folder / "src"
        shutil.copytree(ROOT / "src", self._source, ignore=shutil.ignore_patterns("__pycache__"))
        path = os.pathsep.join(str(one) for one in (self._source, ROOT / "tests", ROOT))
        self._environment = {
            **os.environ,
            "PYTHONPATH": path,
            "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
        }
        (from_here, to_worker), (from_worker, to_here) = os.pipe(), os.pipe()
        names = ",".join("fortctl." + file.removesuffix(".py").replace("/", ".") for file in modules)
        self.log = folder / "worker.log"
        with self.log.open("w") as log:
            self._worker = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mutants.worker", str(from_here), str(to_here)),
                    *(str(folder / "tmp"), names.replace(".__init__", ""), *tests),
                ],
                env=self._environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(from_here, to_here),
            )
        os.close(from_here)
        os.close(to_here)
        self._requests, self._answers = os.fdopen(to_worker, "w"), os.fdopen(from_worker)
        self.tests: list[str] = self._answer()["tests"]

    @property
    def root(self) -> Path:
        return self._source / "fortctl"

    def close(self) -> None:
        self._requests.close()
        self._worker.wait()

    def record(self, tests: Sequence[str], modules: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Run tests; return which lines of some modules each reaches, how long it takes, and whether it passes."""
        to = self._folder / "record.json"
        self._ask(tests, 3600, record=str(to), files=list(modules))
        found: dict[str, dict[str, Any]] = json.loads(to.read_text(encoding="utf-8"))
        return found

    def failing(self, mutant: Mutant, source: str, tests: Sequence[str], limit_s: float) -> str | None:
        """Plant a mutant and run tests; return the first that fails (``OUT_OF_TIME``: none did in time), or None."""
        with self._planted(mutant.file, source):
            if mutant.function:
                answer = self._ask(tests, limit_s, mutant=mutant, source=source)
                if answer["planted"]:
                    return answer["failed"] or (None if answer["ended"] else OUT_OF_TIME)
            return self._failing_anew(tests, limit_s + START_S)

    def _failing_anew(self, tests: Sequence[str], limit_s: float) -> str | None:
        """Do the same in a process that imports the copy as it is now."""
        options = ["-q", "-x", "-n0", "-p", "no:cacheprovider", "--tb=line", f"--basetemp={self._folder / 'tmp'}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests],
            env=self._environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _error = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return OUT_OF_TIME
        if process.returncode == 0:
            return None
        lines = (line.split() for line in output.splitlines() if line.startswith(("FAILED ", "ERROR ")))
        return next((words[1] for words in lines), "(the tests cannot be imported)")

    def _ask(
        self,
        tests: Sequence[str],
        limit_s: float,
        *,
        record: str = "",
        files: Sequence[str] = (),
        mutant: Mutant | None = None,
        source: str = "",
    ) -> dict[str, Any]:
        request = {
            "tests": list(tests),
            "limit_s": limit_s,
            "record": record,
            "root": str(self.root),
            "files": list(files),
            "answer": str(self._folder / "answer.json"),
            "file": str(self.root / mutant.file) if mutant else "",
            "function": mutant.function if mutant else "",
            "nth": mutant.function_nth if mutant else 0,
            "source": source,
        }
        self._requests.write(json.dumps(request) + "\n")
        self._requests.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"the tests do not run: {self.log.read_text(encoding='utf-8')[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @contextmanager
    def _planted(self, file: str, text: str) -> Iterator[None]:
        """Have the copy hold another text of a module, for the processes that the tests start."""
        path = self.root / file
        before = path.read_text(encoding="utf-8")
        try:
            self._write(path, text)
            yield
        finally:
            self._write(path, before)

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        # Python takes a file that is as long and was changed in the same second for the one that it has compiled.
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()


@contextmanager
def laboratory(modules: Sequence[str], tests: Sequence[str]) -> Iterator[Laboratory]:
    with tempfile.TemporaryDirectory(prefix="fortctl-mutants-") as folder:
        one = Laboratory(Path(folder), modules, tests)
        try:
            yield one
        finally:
            one.close()


class Results:
    """What is known of mutants and tests, in a folder.

    Args:
        folder: keeps it from one run to the next.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._path = folder / "results.json"
        self._known: dict[str, dict[str, str]] = (
            json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {}
        )

    def of(self, mutant: Mutant, scope: str, tests: str) -> str:
        """Return how a mutant ended, or nothing where that is not known or may have changed."""
        known = self._known.get(mutant.name, {})
        if known.get("scope") != _digest(scope):
            return ""
        # Without the tests' digest: what the last run said, whatever tests came since.
        if tests and known["outcome"] == "survived" and known["tests"] != tests:
            return ""
        return known["outcome"]

    def note(self, mutant: Mutant, scope: str, tests: str, outcome: str, by: str) -> None:
        self._known[mutant.name] = {"outcome": outcome, "scope": _digest(scope), "tests": tests, "by": by}
        written = self._path.with_suffix(".new")
        written.write_text(json.dumps(self._known, indent=1), encoding="utf-8")
        written.replace(self._path)

    def record(self, lab: Laboratory, modules: Sequence[str], tests: Sequence[str]) -> Reached:
        """Return which lines of some modules each test reaches; run the files of tests where that is not known."""
        # Of every subject at once: many have the same tests.
        every = {file for subject in SUBJECTS for file in files_of_subject(subject)} | set(modules)
        codes = {file: _digest((lab.root / file).read_text(encoding="utf-8")) for file in sorted(every)}
        needed = {file: codes[file] for file in modules}
        kept = {test: self._folder / f"{test.replace('/', '.')}.json" for test in tests}
        unknown = [test for test, path in kept.items() if not self._is_known(path, _digest(_text(test)), needed)]
        if unknown:
            print(f"  {len(unknown)} files of tests are run to see what they reach", flush=True)
            found = lab.record([name for name in lab.tests if name.partition("::")[0] in unknown], sorted(every))
            for test in unknown:
                new = {name: facts for name, facts in found.items() if name.partition("::")[0] == test}
                written = {"digest": _digest(_text(test)), "modules": codes, "tests": new}
                kept[test].write_text(json.dumps(written), encoding="utf-8")
        record = Reached()
        for path in kept.values():
            record.tests.update(json.loads(path.read_text(encoding="utf-8"))["tests"])
        return record

    def _is_known(self, path: Path, digest: str, codes: Mapping[str, str]) -> bool:
        if not path.exists():
            return False
        kept = json.loads(path.read_text(encoding="utf-8"))
        return bool(kept["digest"] == digest and codes.items() <= kept["modules"].items())


def _text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


@dataclass
class Score:
    """How the mutants of one subject ended."""

    subject: str
    mutants: int
    equivalent: int
    outcomes: Counter[str] = field(default_factory=Counter)
    survivors: list[Mutant] = field(default_factory=list)

    @property
    def killed(self) -> int:
        return self.outcomes.total() - self.outcomes["survived"]

    def row(self) -> str:
        total = self.outcomes.total()
        share = f"{100 * self.killed / total:.0f} %" if total else ""
        numbers = (self.mutants, self.equivalent, total, self.killed, self.outcomes["survived"], share)
        return f"| `{self.subject}` | {' | '.join(map(str, numbers))} |"


def run_subject(subject: Subject, results: Results, count: int, seed: int, *, known_only: bool = False) -> Score:
    """Run a sample of one subject's mutants; with *known_only* count those that were run before."""
    modules = {module.file: module for module in modules_of(subject)}
    declared = equivalents()
    every = [mutant for module in modules.values() for mutant in module.mutants]
    real = [mutant for mutant in every if not is_declared(mutant, declared)]
    files = files_of(subject.tests)
    tests = _digest(*(_text(file) for file in files))
    score = Score(subject.name, len(every), len(every) - len(real))
    chosen = sample(real, count, seed)
    known = {one: results.of(one, modules[one.file].scope_of(one), tests) for one in chosen}
    if known_only:
        known = {one: results.of(one, modules[one.file].scope_of(one), "") for one in chosen}
        known = {one: outcome for one, outcome in known.items() if outcome}
    print(
        f"{subject.name}: {len(chosen)} of {len(every)} mutants, {sum(map(bool, known.values()))} are known", flush=True
    )
    if not all(known.values()):
        with laboratory(sorted(modules), files) as lab:
            record = results.record(lab, sorted(modules), files)
            for mutant in (one for one, outcome in known.items() if not outcome):
                module, began = modules[mutant.file], time.monotonic()
                outcome, by = try_mutant(mutant, module, lab, record)
                results.note(mutant, module.scope_of(mutant), tests, outcome, by)
                print(f"  {outcome:9} {time.monotonic() - began:5.1f} s  {mutant.name}", flush=True)
                known[mutant] = outcome
    score.outcomes.update(known.values())
    score.survivors += [mutant for mutant, outcome in known.items() if outcome == "survived"]
    return score


def try_mutant(mutant: Mutant, module: MutatedModule, lab: Laboratory, record: Reached) -> tuple[str, str]:
    """Return how one mutant ends, and the test that failed."""
    tests = record.reaching(mutant)
    if not tests:
        return "survived", "no test reaches it"
    failed = lab.failing(mutant, module.source_of(mutant), tests, SPARE_S + SLOWER * record.seconds(tests))
    return ("survived", "") if failed is None else ("killed", failed)


def score_table(scores: Sequence[Score], count: int, seed: int) -> str:
    """Return the table for docs/testing.md."""
    day = datetime.now(UTC).date()
    rows = "\n".join(score.row() for score in scores)
    killed = sum(score.killed for score in scores)
    total = sum(score.outcomes.total() for score in scores)
    return (
        f"Of {day}; seed {seed}, the first {count} mutants of each subject or those that were run, without the"
        " equivalent ones; a survivor stays one until it is run again:"
        f" {killed} of {total} are killed ({100 * killed / max(1, total):.0f} %).\n\n"
        "| subject | its mutants | equivalent | run | killed | survived | score |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n" + rows
    )


def equivalents_table() -> str:
    """Return the list of the equivalent mutants for docs/testing.md."""
    rows = []
    for one in equivalents():
        changes = "<br>".join(f"`{_cell(change)}`" for change in one.changes)
        rows.append(f"| `{one.file}`<br>`{one.scope}` | {changes} | {one.reason} |")
    return "| where | change | why nobody can notice it |\n| --- | --- | --- |\n" + "\n".join(rows)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="a part of a subject's name; may be repeated")
    parser.add_argument("--sample", type=int, default=40, help="how many mutants of each subject")
    parser.add_argument("--seed", type=int, default=1, help="chooses them")
    parser.add_argument("--known", action="store_true", help="run nothing: count what was run before")
    parser.add_argument("--write", action="store_true", help="write the tables of docs/testing.md")
    parser.add_argument("--declare", action="store_true", help="write the table of equivalent mutants and run nothing")
    given = parser.parse_args(argv)
    if given.declare:
        return rewrite_section(DOCUMENT, DECLARED, equivalents_table())
    chosen = [one for one in SUBJECTS if not given.only or any(part in one.name for part in given.only)]
    results = Results(ROOT / ".mutants")
    scores = [run_subject(subject, results, given.sample, given.seed, known_only=given.known) for subject in chosen]
    print("\n" + score_table(scores, given.sample, given.seed))
    for score in scores:
        for mutant in score.survivors:
            print(f"survived: {SOURCE / mutant.file}:{mutant.lines[0]} {mutant.scope}: {mutant.change}")
    if given.write:
        rewrite_section(DOCUMENT, SCORES, score_table(scores, given.sample, given.seed))
        rewrite_section(DOCUMENT, DECLARED, equivalents_table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
