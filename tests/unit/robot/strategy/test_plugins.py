"""Strategies of other distributions: how they are found, and what they import."""

from __future__ import annotations

import ast
from importlib.metadata import EntryPoint

import pytest

from fortctl.errors import InternalError, NotFoundError
from fortctl.robot import strategy
from fortctl.robot.strategy.grid import Grid
from fortctl.robot.strategy.plugins import GROUP, find_strategy, load_strategy
from fortctl.system.entry_points import Plugin
from support.harness import REPOSITORY

PUBLIC = {"fortctl.robot.strategy", "fortctl.robot.testing"}


def plugin(target: str, name: str = "grid") -> Plugin:
    return Plugin(name, "example", "1.0", target, EntryPoint(name, target, GROUP))


def test_find_strategy_builtin_name_returns_the_grid() -> None:
    assert isinstance(find_strategy("grid"), Grid)


def test_find_strategy_unknown_name_raises_not_found() -> None:
    with pytest.raises(NotFoundError):
        find_strategy("no-such-strategy")


def test_load_strategy_class_returns_an_instance() -> None:
    assert isinstance(load_strategy(plugin("fortctl.robot.strategy.grid:Grid")), Grid)


@pytest.mark.parametrize("target", ["fortctl.robot.strategy.grid:builtin", "no_such_module:Thing", "json:dumps"])
def test_load_strategy_other_object_raises_internal(target: str) -> None:
    with pytest.raises(InternalError):
        load_strategy(plugin(target))


def test_load_strategy_other_name_raises_internal() -> None:
    with pytest.raises(InternalError, match="not a strategy of that name"):
        load_strategy(plugin("fortctl.robot.strategy.grid:Grid", name="other"))


def test_example_plugin_imports_public_modules_alone() -> None:
    modules = set()
    for path in (REPOSITORY / "examples" / "fortctl-strategy-dca").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "fortctl":
                modules.add(node.module)
    assert modules == PUBLIC


def test_public_names_are_sorted_and_exist() -> None:
    assert strategy.__all__ == sorted(strategy.__all__)
    assert all(hasattr(strategy, name) for name in strategy.__all__)
