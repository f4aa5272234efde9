"""A secret is a ``Secret`` from the prompt to the signature: no parameter, field or variable holds one as text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import fortctl

SOURCE = Path(fortctl.__file__).parent
# The paper exchange and the demo's own checks play Binance's part: they make and compare keys.
ELSEWHERE = ("paper", "demo")
# The modules that a key passes on its way; the test must not become empty when one of them moves.
ON_THE_WAY = (
    "commands/keys.py",
    "commands/rotate.py",
    "services/keys/input.py",
    "services/keys/service.py",
    "services/stored_key.py",
    "services/robot/client.py",
    "services/site_vault.py",
    "mailbox/payloads.py",
    "mailbox/messages.py",
    "robot/control/command_handlers.py",
    "robot/control/command_processor.py",
    "robot/control/robot_vault.py",
    "keys/generation.py",
    "exchange/signing.py",
)
HOLDS_SECRET = re.compile(r"(^|_)(secret|secret_key|secrets|private_key|passphrase|api_key|password)$")
TEXT = re.compile(r"\b(str|bytes|bytearray|Any|object)\b")
# name in module: why it may be text.
EXCUSED: dict[tuple[str, str], str] = {}


def annotated_names(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Yield (name, annotation, line) of every annotated parameter, field and variable."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            yield node.arg, ast.unparse(node.annotation), node.lineno
        elif isinstance(node, ast.AnnAssign):
            target = node.target
            name = target.id if isinstance(target, ast.Name) else getattr(target, "attr", "")
            yield name, ast.unparse(node.annotation), node.lineno


def test_no_text_annotation_holds_a_secret() -> None:
    held, walked = [], set()
    for path in SOURCE.rglob("*.py"):
        module = path.relative_to(SOURCE).as_posix()
        if module.split("/")[0] in ELSEWHERE:
            continue
        walked.add(module)
        for name, annotation, line in annotated_names(ast.parse(path.read_text())):
            if HOLDS_SECRET.search(name) and TEXT.search(annotation) and (module, name) not in EXCUSED:
                held.append(f"{module}:{line}: {name}: {annotation}")
    assert not held, held
    assert walked >= set(ON_THE_WAY)


def test_text_annotations_are_found() -> None:
    source = "class A:\n    api_key: str\ndef f(new_passphrase: str | None, name: str, secret: Secret) -> None: ..."
    found = [
        name
        for name, annotation, _line in annotated_names(ast.parse(source))
        if HOLDS_SECRET.search(name) and TEXT.search(annotation)
    ]
    assert found == ["api_key", "new_passphrase"]
