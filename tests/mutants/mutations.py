"""The mutants of a module: every one differs from the source in one place.

A mutant is named by the function that holds it and the text of its change: neither a line that moves nor another format
makes it another one.
"""

from __future__ import annotations

import ast
import copy
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
OPPOSITES = {"min": "max", "max": "min", "any": "all", "all": "any"}
# A text of one word is a code, a name or a key of JSON. A sentence is not what a mutant may change.
WORD = re.compile(r"[A-Za-z_][\w.:-]*")
# Functions that only type checkers, people or the log read.
NOT_MUTATED_CALLS = {"cast", "NewType", "TypeVar"}
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
SENTENCES = {"hint"}
# How much of a statement is shown beside its change.
CONTEXT = 60


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        file: the module, below ``src/fortctl``.
        scope: the function or class that holds it; empty: the module itself.
        change: the statement around its change: ``if price [> => >=] limit:``.
        nth: which of the mutants of this scope that read the same (0: the first).
        lines: the first and the last line of the statement's head.
        function: the outermost function that holds it, where it is run by a call and not by the import of the module.
        function_nth: which of the functions of that name.
    """

    file: str
    scope: str
    change: str
    nth: int
    lines: tuple[int, int]
    function: str
    function_nth: int

    @property
    def name(self) -> str:
        return f"{self.file}:{self.scope}: {self.change}" + (f" #{self.nth}" if self.nth else "")


@dataclass(frozen=True)
class _Slot:
    """A place of the tree: a field of a node, or one entry of a field that is a list."""

    parent: ast.AST
    field: str
    index: int | None = None

    def put(self, new: object) -> None:
        if self.index is None:
            setattr(self.parent, self.field, new)
        else:
            getattr(self.parent, self.field)[self.index] = new

    def old(self) -> object:
        value = getattr(self.parent, self.field)
        return value if self.index is None else value[self.index]


@dataclass(frozen=True)
class _Change:
    slot: _Slot
    new: object


class MutatedModule:
    """One module and all its mutants.

    Args:
        root: the folder ``src/fortctl``.
        file: the module below it.
    """

    def __init__(self, root: Path, file: str) -> None:
        self.file = file
        self._tree = ast.parse((root / file).read_text(encoding="utf-8"))
        self._changes: dict[Mutant, _Change] = {}
        self._scopes: dict[str, str] = {"": ast.unparse(self._tree)}
        self._functions: Counter[str] = Counter()
        self._same: Counter[tuple[str, str]] = Counter()
        self._collect(self._tree, "", ("", 0))

    @property
    def mutants(self) -> tuple[Mutant, ...]:
        return tuple(self._changes)

    @property
    def unchanged(self) -> str:
        """The source as this module writes it, without a change."""
        return self._scopes[""]

    def source_of(self, mutant: Mutant) -> str:
        """Return the source with one change."""
        with _planted(self._changes[mutant]):
            return ast.unparse(self._tree)

    def scope_of(self, mutant: Mutant) -> str:
        """Return the source of the function or class that holds a mutant."""
        return self._scopes[mutant.scope]

    def _collect(self, holder: ast.AST, scope: str, function: tuple[str, int]) -> None:
        for field, value in ast.iter_fields(holder):
            if not (isinstance(value, list) and value and isinstance(value[0], ast.stmt | ast.ExceptHandler)):
                if isinstance(value, list) and value and isinstance(value[0], ast.match_case):
                    for case in value:
                        self._collect(case, scope, function)
                continue
            for index, entry in enumerate(value):
                if isinstance(entry, ast.ExceptHandler):
                    self._collect(entry, scope, function)
                    continue
                self._collect_statement(entry, _Slot(holder, field, index), scope, function)

    def _collect_statement(self, statement: ast.stmt, slot: _Slot, scope: str, function: tuple[str, int]) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom | ast.Assert):
            return
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            return
        inner, inside = scope, function
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{scope}.{statement.name}".strip(".")
            if not isinstance(statement, ast.ClassDef) and not function[0]:
                inside = inner, self._functions[inner]
                self._functions[inner] += 1
            self._scopes[inner] = ast.unparse(statement)
        before = _head(statement)
        for change in [*_of_statement(statement, slot), *_of_expressions(statement)]:
            with _planted(change):
                changed = slot.old()
                assert isinstance(changed, ast.stmt)
                after = _head(changed)
            if before == after:
                continue
            text = _marked(before, after)
            nth = self._same[inner, text]
            self._same[inner, text] += 1
            lines = (statement.lineno, _last_line(statement))
            self._changes[Mutant(self.file, inner, text, nth, lines, *function)] = change
        self._collect(statement, inner, inside)


class _planted:  # noqa: N801 - a context manager reads like a function
    def __init__(self, change: _Change) -> None:
        self._change, self._old = change, change.slot.old()

    def __enter__(self) -> None:
        self._change.slot.put(self._change.new)

    def __exit__(self, *_error: object) -> None:
        self._change.slot.put(self._old)


def _head(statement: ast.stmt) -> str:
    """Return a statement's text; of a compound one without what it holds."""
    if not hasattr(statement, "body"):
        return ast.unparse(statement)
    bare = copy.copy(statement)
    for field, value in ast.iter_fields(statement):
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt | ast.ExceptHandler):
            setattr(bare, field, [])
    bare.body = [ast.Pass()]
    if hasattr(bare, "decorator_list"):
        bare.decorator_list = []
    return ast.unparse(bare).strip().removesuffix("pass").strip()


def _marked(before: str, after: str) -> str:
    """Return what differs between two texts, in words, with what stands around it."""
    old, new = (re.findall(r"\w+|\s+|[^\w\s]+", text) for text in (before, after))
    least = min(len(old), len(new))
    same = next((n for n in range(least) if old[n] != new[n]), least)
    end = next((n for n in range(least - same) if old[-1 - n] != new[-1 - n]), least - same)
    left, right = "".join(old[:same]), "".join(old[len(old) - end :])
    left = left if len(left) <= CONTEXT else f"...{left[-CONTEXT:]}"
    right = right if len(right) <= CONTEXT else f"{right[:CONTEXT]}..."
    changed = ("".join(words[same : len(words) - end]) for words in (old, new))
    return f"{left}[{' => '.join(changed)}]{right}"


def _last_line(statement: ast.stmt) -> int:
    held: list[ast.stmt] = getattr(statement, "body", [])
    return max(statement.lineno, held[0].lineno - 1) if held else statement.end_lineno or statement.lineno


def _of_statement(statement: ast.stmt, slot: _Slot) -> Iterator[_Change]:
    """Return the changes to a statement as a whole."""
    gone = _Change(slot, ast.copy_location(ast.Pass(), statement))
    match statement:
        case ast.Expr(value=ast.Constant()):
            return
        case ast.Expr(value=value):
            if not _is_log(value.value if isinstance(value, ast.Await) else value):
                yield gone
        case ast.Raise() | ast.AugAssign() | ast.Delete():
            yield gone
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield gone
        case ast.Continue():
            yield _Change(slot, ast.copy_location(ast.Break(), statement))
            yield gone
        case ast.Break():
            yield _Change(slot, ast.copy_location(ast.Continue(), statement))
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield _Change(_Slot(statement, "value"), ast.Constant(None))
        case ast.If():
            yield _Change(_Slot(statement, "test"), ast.Constant(True))
            yield _Change(_Slot(statement, "test"), ast.Constant(False))
        case ast.While(test=test) if not isinstance(test, ast.Constant):
            yield _Change(_Slot(statement, "test"), ast.Constant(False))
        case _:
            pass


def _of_expressions(statement: ast.stmt) -> Iterator[_Change]:
    """Return the changes to the expressions of a statement, without those of the statements that it holds."""
    for field, value in ast.iter_fields(statement):
        if field in ("annotation", "decorator_list", "returns", "type_params", "bases", "keywords", "exc", "msg"):
            continue
        entries = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, entry in entries:
            if isinstance(entry, ast.expr | ast.arguments | ast.withitem):
                yield from _of_node(entry, _Slot(statement, field, index))


def _of_node(node: ast.AST, slot: _Slot) -> Iterator[_Change]:
    """Return the changes to an expression and to what it is made of."""
    if isinstance(node, ast.JoinedStr | ast.arg):
        return
    if isinstance(node, ast.Call) and (_is_log(node) or _called(node) in NOT_MUTATED_CALLS):
        return
    if isinstance(node, ast.expr):
        yield from _of_expression(node, slot)
    for field, value in ast.iter_fields(node):
        entries = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, entry in entries:
            if isinstance(entry, ast.keyword):
                if entry.arg not in SENTENCES:
                    yield from _of_node(entry.value, _Slot(entry, "value"))
            elif isinstance(entry, ast.comprehension):
                yield from _of_comprehension(entry)
            elif isinstance(entry, ast.expr | ast.arguments):
                yield from _of_node(entry, _Slot(node, field, index))


def _of_comprehension(part: ast.comprehension) -> Iterator[_Change]:
    yield from _of_node(part.iter, _Slot(part, "iter"))
    for index, test in enumerate(part.ifs):
        yield _Change(_Slot(part, "ifs", index), ast.Constant(True))
        yield from _of_node(test, _Slot(part, "ifs", index))


def _of_expression(node: ast.expr, slot: _Slot) -> Iterator[_Change]:
    match node:
        case ast.Compare(ops=ops):
            for index, operator in enumerate(ops):
                for other in COMPARISONS[type(operator)]:
                    yield _Change(_Slot(node, "ops", index), other())
        case ast.BoolOp(op=operator, values=values):
            yield _Change(_Slot(node, "op"), ast.Or() if isinstance(operator, ast.And) else ast.And())
            for index in range(len(values)):
                rest = values[:index] + values[index + 1 :]
                yield _Change(slot, rest[0] if len(rest) == 1 else ast.BoolOp(operator, rest))
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield _Change(slot, operand)
        case ast.BinOp(left=left, op=operator, right=right) if not (_is_text(left) or _is_text(right)):
            if type(operator) in ARITHMETIC:
                yield _Change(_Slot(node, "op"), ARITHMETIC[type(operator)]())
            yield _Change(slot, left)
            yield _Change(slot, right)
        case ast.IfExp():
            yield _Change(_Slot(node, "test"), ast.Constant(True))
            yield _Change(_Slot(node, "test"), ast.Constant(False))
        case ast.Constant(value=bool() as value):
            yield _Change(slot, ast.Constant(not value))
        case ast.Constant(value=int() | float() as value):
            yield _Change(slot, ast.Constant(value + 1))
        case ast.Constant(value=str() as value) if WORD.fullmatch(value):
            yield _Change(slot, ast.Constant(f"XX{value}"))
        case ast.Dict(keys=keys, values=values):
            for index, key in enumerate(keys):
                if key is None:
                    fewer = ast.Dict(keys[:index] + keys[index + 1 :], values[:index] + values[index + 1 :])
                    yield _Change(slot, fewer)
        case ast.Tuple(elts=entries) | ast.List(elts=entries) | ast.Set(elts=entries):
            for index, entry in enumerate(entries):
                if isinstance(entry, ast.Starred) and isinstance(entry.ctx, ast.Load) and len(entries) > 1:
                    yield _Change(slot, ast.Tuple(entries[:index] + entries[index + 1 :], ast.Load()))
        case ast.Call():
            yield from _of_call(node, slot)
        case ast.Slice(lower=lower, upper=upper):
            if lower is not None:
                yield _Change(_Slot(node, "lower"), None)
            if upper is not None:
                yield _Change(_Slot(node, "upper"), None)
        case _:
            pass


def _of_call(call: ast.Call, slot: _Slot) -> Iterator[_Change]:
    called = _called(call)
    if called in OPPOSITES and isinstance(call.func, ast.Name):
        yield _Change(_Slot(call, "func"), ast.Name(OPPOSITES[called], ast.Load()))
    if called in ("min", "max") and len(call.args) > 1:
        for argument in call.args:
            yield _Change(slot, argument)
    for index in range(len(call.args) - 1):
        swapped = [*call.args]
        swapped[index], swapped[index + 1] = swapped[index + 1], swapped[index]
        if called not in ("min", "max", "isinstance", "issubclass"):
            yield _Change(_Slot(call, "args"), swapped)
    for index, keyword in enumerate(call.keywords):
        if keyword.arg is not None and keyword.arg not in SENTENCES:
            yield _Change(_Slot(call, "keywords"), call.keywords[:index] + call.keywords[index + 1 :])


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _is_log(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOG_METHODS):
        return False
    return "log" in ast.unparse(node.func.value).lower()


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
