"""The vault file's text: one canonical TOML form, read strictly. Pure (docs/vault-format.md).

The file is valid TOML, but only the exact bytes that :func:`encode` writes are accepted: a file with any other order,
spacing or missing line is refused. The last line is the SHA-256 of everything before it. It is checked first, so that
accidental damage is distinguished from a wrong passphrase.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple, TypeVar

from fortctl.errors import VaultDamagedError

FORMAT = "fortctl-vault/1"
SIZE_LIMIT = 8 * 1024 * 1024
# Each passphrase slot may need an Argon2id computation before the file is authenticated.
MAX_SLOTS = 8
_INT_LIMIT = 2**53


class Slot(NamedTuple):
    """One wrapping of the data-encryption key.

    Attributes:
        id: 16 hex digits.
        kind: ``passphrase``, ``keyfile`` or ``keyring``.
        hint: what a person needs to find the unlock source (a file name), nothing secret.
        memory_kib, iterations, lanes: Argon2id cost (RFC 9106); 0 for other kinds than ``passphrase``.
        salt, nonce, wrapped: base64.
    """

    id: str
    kind: str
    hint: str
    memory_kib: int
    iterations: int
    lanes: int
    salt: str
    nonce: str
    wrapped: str


class Record(NamedTuple):
    """One encrypted record with everything that is bound to it as associated data.

    Attributes:
        erasure: ``ACCOUNT/PURPOSE-ID`` of its erasure key's file, or empty.
        nonce, data: base64.
    """

    id: str
    account: str
    exchange: str
    role: str
    name: str
    type: str
    version: int
    created: int
    erasure: str
    nonce: str
    data: str


class Document(NamedTuple):
    """A whole vault as text. ``tag`` is the whole-vault HMAC in hex, over :func:`body`."""

    vault_id: str
    generation: int
    slots: tuple[Slot, ...]
    records: tuple[Record, ...]
    tag: str


def body(document: Document) -> bytes:
    """Return the bytes that the whole-vault tag covers: everything before it."""
    lines = [
        f'format = "{FORMAT}"',
        f"vault_id = {_quote(document.vault_id)}",
        f"generation = {document.generation}",
    ]
    for title, items in (("slot", document.slots), ("record", document.records)):
        for item in items:
            lines += ["", f"[[{title}]]", *_lines(item)]
    lines += ["", "[seal]", ""]
    return "\n".join(lines).encode()


def encode(document: Document) -> bytes:
    """Return the canonical form of a vault."""
    text = body(document) + f"tag = {_quote(document.tag)}\n".encode()
    return text + f'sha256 = "{hashlib.sha256(text).hexdigest()}"\n'.encode()


def decode(data: bytes) -> Document:
    """Read a vault.

    Raises:
        VaultDamagedError: the closing hash is wrong, or any byte is not as :func:`encode` would write it.
    """
    if len(data) > SIZE_LIMIT:
        raise VaultDamagedError("the file is too large to be a vault")
    head, _newline, last = data.removesuffix(b"\n").rpartition(b"\n")
    head += b"\n"
    if last != f'sha256 = "{hashlib.sha256(head).hexdigest()}"'.encode():
        raise VaultDamagedError("the vault file is damaged: its closing SHA-256 does not match")
    try:
        document = _parse(head.decode("utf-8"))
        canonical = encode(document)
    except (ValueError, KeyError, IndexError) as error:
        raise VaultDamagedError(f"the vault file is not of the format {FORMAT}") from error
    if canonical != data:
        raise VaultDamagedError("the vault file is not in its canonical form")
    if not 0 < len(document.slots) <= MAX_SLOTS:
        raise VaultDamagedError(f"the vault file must have 1 to {MAX_SLOTS} slots")
    return document


_LINE = re.compile(r'([a-z0-9_]+) = (?:"((?:[^"\\\x00-\x1f\x7f]|\\["\\]|\\u[0-9a-f]{4})*)"|([0-9]{1,16}))')
_SPECIAL = re.compile(r'["\\\x00-\x1f\x7f]')
_ESCAPE = re.compile(r'\\(?:(["\\])|u([0-9a-f]{4}))')
T = TypeVar("T", Slot, Record)
_NUMBERS = {"memory_kib", "iterations", "lanes", "version", "created"}


def _quote(text: str) -> str:
    if not _SPECIAL.search(text):
        return f'"{text}"'
    out = []
    for character in text:
        if character in '"\\':
            out.append("\\" + character)
        elif ord(character) < 0x20 or ord(character) == 0x7F:
            out.append(f"\\u{ord(character):04x}")
        else:
            out.append(character)
    return '"' + "".join(out) + '"'


def _lines(item: Slot | Record) -> list[str]:
    rows = []
    for name, value in item._asdict().items():
        rows.append(f"{name} = {value if isinstance(value, int) else _quote(value)}")
    return rows


def _parse(text: str) -> Document:
    """Parse leniently; :func:`decode` then compares strictly."""
    sections: list[tuple[str, dict[str, Any]]] = [("", {})]
    for line in text.split("\n"):
        if line.startswith("["):
            sections.append((line.strip("[]"), {}))
        elif line:
            match = _LINE.fullmatch(line)
            if match is None:
                raise ValueError("a line is neither a section nor a value")
            name, quoted, number = match.groups()
            sections[-1][1][name] = _unquote(quoted) if number is None else _bounded(number)
    head = sections[0][1]
    if head["format"] != FORMAT:
        raise ValueError("another format")
    return Document(
        vault_id=_text(head["vault_id"]),
        generation=_number(head["generation"]),
        slots=tuple(_item(Slot, values) for title, values in sections if title == "slot"),
        records=tuple(_item(Record, values) for title, values in sections if title == "record"),
        tag=_text(sections[-1][1]["tag"]),
    )


def _item(cls: type[T], values: dict[str, Any]) -> T:
    checked: dict[str, Any] = {name: (_number if name in _NUMBERS else _text)(values[name]) for name in cls._fields}
    return cls(**checked)


def _unquote(quoted: str) -> str:
    return _ESCAPE.sub(lambda match: match[1] or chr(int(match[2], 16)), quoted)


def _bounded(number: str) -> int:
    value = int(number)
    if value > _INT_LIMIT:
        raise ValueError("a number is too large")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text was expected")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError("a number was expected")
    return value
