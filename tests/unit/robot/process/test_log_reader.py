"""Reading the robot's log while it is written and rotated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fortctl.robot.process import log_reader
from fortctl.robot.process.log_reader import LogReader


class Log:
    """Writes as the robot does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0

    def write(self, count: int = 1) -> None:
        with self.path.open("a") as stream:
            for _ in range(count):
                stream.write(json.dumps({"n": self.count}) + "\n")
                self.count += 1

    def rotate(self) -> None:
        """Put the file aside and begin the next one at once, as logging's handler does."""
        self.path.replace(self.path.with_name("robot.log.1"))
        self.path.touch()


def numbers(entries: list[dict[str, Any]]) -> list[Any]:
    return [entry.get("n") for entry in entries]


@given(st.lists(st.sampled_from(["write", "rotate", "look"]), max_size=30), st.integers(1, 5))
def test_whatever_the_order_every_line_is_told_once(tmp_path_factory: Any, steps: list[str], before: int) -> None:
    log = Log(tmp_path_factory.mktemp("log") / "robot.log")
    log.write(before)
    reader = LogReader(log.path)
    told = numbers(reader.last(before))
    may_rotate = True
    for step in [*steps, "look"]:
        if step == "write":
            log.write()
        elif step == "rotate" and may_rotate:
            log.rotate()
            may_rotate = False  # once between two looks: a file of 8 MiB is not filled twice in 0.2 s
        elif step == "look":
            told += numbers(reader.more())
            may_rotate = True
    reader.close()
    assert told == list(range(log.count))


def test_the_last_lines_reach_into_the_file_before(tmp_path: Path) -> None:
    log = Log(tmp_path / "robot.log")
    assert LogReader(log.path).last(5) == [] and LogReader(log.path).more() == []
    log.write(3)
    log.rotate()
    log.write(2)
    assert numbers(LogReader(log.path).last(4)) == [1, 2, 3, 4]
    assert numbers(LogReader(log.path).last(1)) == [4] and LogReader(log.path).last(0) == []


def test_lines_that_are_cut_or_no_json(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "robot.log"
    path.write_bytes(b'{"n": 0}\n\xff no json\n{"n": ')
    reader = LogReader(path)
    assert reader.last(9) == [{"n": 0}, {"message": "� no json"}]
    with path.open("ab") as stream:
        stream.write(b"1}\n")
    assert reader.more() == [{"n": 1}], "a line is told once it is whole"
    path.write_bytes(b'{"n": 2}\n')
    assert reader.more() == [{"n": 2}], "a file that was cut is read from its beginning"
    monkeypatch.setattr(log_reader, "_TAIL_BYTES", 12)
    assert LogReader(path).last(9) == [{"n": 2}]
    path.write_bytes(b'{"n": 3}\n{"n": 4}\n')
    assert LogReader(path).last(9) == [{"n": 4}], "a line whose beginning is not read is not told"


def test_log_follow_yields_lines_appended_later(tmp_path: Path) -> None:
    log = Log(tmp_path / "robot.log")
    following = LogReader(log.path).follow(lambda _seconds: log.write())
    assert [next(following)["n"] for _ in range(3)] == [0, 1, 2]
