from __future__ import annotations

from tools.import_diagram import flow, packages, without_shortcuts

GRAPH = {
    "top.a.one": frozenset({"top.b.two", "top.c"}),
    "top.b.two": frozenset({"top.c", "other"}),
    "top.c": frozenset(),
    "top.d": frozenset(),
}


def test_modules_are_folded_into_the_packages_of_one_parent() -> None:
    assert packages(GRAPH, "top") == {"a": {"b", "c"}, "b": {"c"}, "c": frozenset(), "d": frozenset()}


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    assert without_shortcuts(packages(GRAPH, "top")) == {"a": {"b"}, "b": {"c"}, "c": frozenset(), "d": frozenset()}
    circle = {"a": frozenset("b"), "b": frozenset("a")}
    assert without_shortcuts(circle) == circle


def test_a_package_without_arrows_is_drawn_alone() -> None:
    chart = flow(packages(GRAPH, "top"))
    assert chart == "```mermaid\nflowchart TD\n    d\n    a --> b\n    b --> c\n```"
