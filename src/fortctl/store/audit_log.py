"""The audit log: append-only JSON lines, each with the hash of the one before (adapter).

A process with an unlocked vault seals its entries with an HMAC, whose key is a vault record. Entries that are written
without unlocking (panic) stay unsealed.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from fortctl.errors import ConflictError, VaultDamagedError
from fortctl.secret import Secret, redact
from fortctl.system.clock import SystemClock
from fortctl.system.files import NotARegularFileError, open_regular, write_all
from fortctl.system.users import user_name
from fortctl.timestamps import rfc3339

GENESIS = "0" * 64
_BLOCK = 64 * 1024
_BEGIN_AGAIN = "see 'fortctl doctor'; move audit.jsonl aside to begin a new chain, then 'fortctl vault accept'"


class AuditCheck(NamedTuple):
    """The result of checking an intact audit log.

    Attributes:
        entries: the number of entries.
        sealed: the number of entries with this home's seal; 0 if the vault was not unlocked.
        head: the last entry's hash.
    """

    entries: int
    sealed: int
    head: str


class AuditLogFile:
    """``audit.jsonl``; implements :class:`fortctl.ports.AuditLog`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: Secret | None = None

    def seal_with(self, key: Secret) -> None:
        """Seal this process's entries with a key from now on."""
        self._key = Secret(key.reveal_bytes())

    def append(self, what: str, *, account: str, result: str, best_effort: bool = False, **facts: Any) -> None:
        """Append one entry, durably.

        Args:
            what: the operation.
            account: the account that it concerns.
            result: ``intent``, ``result``, ``done``, or an error code.
            best_effort: write what is possible, and never raise (panic).
            facts: more fields: JSON values without secrets.

        Raises:
            VaultDamagedError: the last entry is malformed or was changed, or the log is not a regular file.
            ConflictError: the disk refuses the entry; the log is unchanged.
        """
        try:
            self._append({"what": what, "account": account, "result": result, **facts}, strict=not best_effort)
        except NotARegularFileError:
            if not best_effort:
                raise _not_a_file() from None
        except OSError as error:
            if not best_effort:
                raise ConflictError(
                    f"the audit log cannot be written: {error.strerror}",
                    hint="free disk space or check the disk, then try again",
                    details={"errno": error.errno},
                ) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if not best_effort:
                raise VaultDamagedError(
                    f"the audit log cannot be continued ({type(error).__name__})",
                    hint=_BEGIN_AGAIN,
                ) from error

    def _append(self, facts: dict[str, Any], *, strict: bool) -> None:
        descriptor = open_regular(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            end, last = _last_line(descriptor, size)
            before = json.loads(last) if last else None
            if strict and before is not None and not _is_entry(before, last):
                raise VaultDamagedError("the last entry of the audit log was changed", hint=_BEGIN_AGAIN)
            if end < size:
                # A crash or a full disk left half an entry; its operation was not carried out.
                os.ftruncate(descriptor, end)
                torn = {"what": "torn end removed", "account": "", "result": "done", "bytes": size - end}
                before, end = self._write_entry(descriptor, end, before, torn)
            self._write_entry(descriptor, end, before, facts)
        finally:
            os.close(descriptor)

    def _write_entry(
        self, descriptor: int, end: int, before: dict[str, Any] | None, facts: dict[str, Any]
    ) -> tuple[dict[str, Any], int]:
        """Write one entry at the end; return it and the new end. If the disk refuses it, the log is unchanged."""
        entry = {
            "seq": before["seq"] + 1 if before else 1,
            "time": rfc3339(SystemClock().now_ms()),
            "who": {"user": user_name(), "host": os.uname().nodename, "pid": os.getpid()},
            **facts,
            "prev": before["hash"] if before else GENESIS,
            # Covered by the hash, so that removing a seal breaks the chain.
            "sealed": self._key is not None,
        }
        entry["hash"] = _hash(entry)
        entry["seal"] = _seal(self._key, entry["hash"]) if self._key is not None else None
        line = _line(redact_values(entry))
        try:
            os.lseek(descriptor, end, os.SEEK_SET)
            write_all(descriptor, line)
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, end)
            raise
        return entry, end + len(line)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield every entry, oldest first.

        Raises:
            VaultDamagedError: a line is malformed, or the log is not a regular file.
        """
        if not self._path.exists():
            return
        with _reading(self._path) as stream:
            for number, line in enumerate(stream, 1):
                try:
                    entry = json.loads(line)
                    whole = isinstance(entry, dict) and _line(entry) == line
                except (ValueError, RecursionError):
                    whole = False
                if not whole:
                    torn = not line.endswith(b"\n")
                    raise VaultDamagedError(
                        f"line {number} of the audit log is {'half an' if torn else 'not an'} entry",
                        hint="a crash can leave half an entry; the next command that writes removes it"
                        if torn
                        else None,
                        details={"entry": number, "reason": "torn_end" if torn else "no_entry"},
                    )
                yield entry

    def generations(self) -> tuple[int, int] | None:
        """Return the highest intended generation of the site vault, and the last one that was reached.

        Reads backwards, only as far as necessary. None: no entry has a generation.

        Raises:
            VaultDamagedError: the log's end cannot be read.
        """
        if not self._path.exists():
            return None
        intended = 0
        try:
            for line in _whole_lines(self._path):
                entry = json.loads(line)
                generation = int(entry.get("generation") or 0)
                intended = max(intended, generation)
                if generation and entry["result"] in ("result", "accepted"):
                    return intended, generation
        except NotARegularFileError:
            raise _not_a_file() from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise VaultDamagedError("the end of the audit log is malformed", hint=_BEGIN_AGAIN) from None
        return (intended, 0) if intended else None

    def head(self) -> tuple[int, str] | None:
        """Return the last entry's number and hash, or None if no entry can be read."""
        try:
            last = json.loads(next(_whole_lines(self._path)))
            return int(last["seq"]), str(last["hash"])
        except (OSError, ValueError, KeyError, TypeError, StopIteration, RecursionError):
            return None

    def check(self, anchor: tuple[int, str] | None = None) -> AuditCheck:
        """Check the whole chain, and the seals if the key is known.

        Args:
            anchor: the number and hash of an entry that a paired robot remembers.

        Raises:
            VaultDamagedError: an entry was changed, cut or moved (``details.entry``).
        """
        before, count, sealed = GENESIS, 0, 0
        for entry in self.entries():
            count += 1
            seal = entry.pop("seal", None)
            claimed = entry.pop("hash", None)
            if entry.get("seq") != count or entry.get("prev") != before or _hash(entry) != claimed:
                raise VaultDamagedError(
                    f"the audit log was changed at entry {count}",
                    hint="compare it with a backup; the chain breaks at this entry",
                    details={"entry": count},
                )
            if self._key is not None:
                sealed += self._has_valid_seal(entry, str(claimed), seal, count)
            before = str(claimed)
            if anchor is not None and anchor[0] == count and anchor[1] != before:
                raise VaultDamagedError(
                    f"audit entry {count} is not the one that the robot remembers", details={"entry": count}
                )
        if anchor is not None and anchor[0] > count:
            raise VaultDamagedError(
                f"the audit log ends at entry {count}, but the robot remembers entry {anchor[0]}: the log was cut",
                details={"entry": count},
            )
        return AuditCheck(count, sealed, before)

    def _has_valid_seal(self, entry: Mapping[str, Any], claimed: str, seal: object, count: int) -> bool:
        """Return whether an entry has a seal.

        A change of the vault is logged by a process that has unlocked it, and its entry has a generation. So an entry
        with a generation must be sealed, and a forged log cannot simply omit the seals.

        Raises:
            VaultDamagedError: the seal is wrong, or missing where there must be one.
        """
        if seal is None:
            if entry.get("generation") or entry.get("sealed"):
                raise VaultDamagedError(f"audit entry {count} has no seal, but must have one", details={"entry": count})
            return False
        assert self._key is not None
        expected = _seal(self._key, claimed)
        if not hmac.compare_digest(expected.encode(), str(seal).encode()):
            raise VaultDamagedError(f"the seal of audit entry {count} is not this home's", details={"entry": count})
        return True


def _seal(key: Secret, digest: str) -> str:
    return hmac.digest(key.reveal_bytes(), digest.encode(), "sha256").hex()


def _not_a_file() -> VaultDamagedError:
    return VaultDamagedError(
        "the audit log is not a regular file", hint=f"check what was put in its place; {_BEGIN_AGAIN}"
    )


def _reading(path: Path) -> IO[bytes]:
    try:
        return open(path, "rb", opener=open_regular)
    except NotARegularFileError:
        raise _not_a_file() from None


def redact_values(entry: dict[str, Any]) -> dict[str, Any]:
    """Mask what looks like key material in all values except the hashes of the chain."""
    return {name: value if name in ("prev", "hash", "seal") else _masked(value) for name, value in entry.items()}


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(name): _masked(item) for name, item in value.items()}
    return [_masked(item) for item in value] if isinstance(value, list | tuple) else value


def _line(entry: Mapping[str, Any]) -> bytes:
    return (json.dumps(entry, ensure_ascii=False) + "\n").encode()


def _hash(entry: dict[str, Any]) -> str:
    covered = redact_values({name: value for name, value in entry.items() if name not in ("hash", "seal")})
    canonical = json.dumps(covered, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _is_entry(entry: dict[str, Any], line: bytes) -> bool:
    """Return whether a line is exactly an entry, with the right hash."""
    return _line(entry) == line + b"\n" and entry["hash"] == _hash(entry)


def _last_line(descriptor: int, size: int) -> tuple[int, bytes]:
    """Return the end of the last complete line, and the line; anything after it is half an entry."""
    tail, start, end = b"", size, -1
    while start > 0:
        step = min(_BLOCK, start)
        start -= step
        tail = os.pread(descriptor, step, start) + tail
        if end < 0 and (found := tail.rfind(b"\n")) >= 0:
            end = start + found + 1
        if end >= 0 and (found := tail.rfind(b"\n", 0, end - 1 - start)) >= 0:
            return end, tail[found + 1 : end - 1 - start]
    return (end, tail[: end - 1]) if end >= 0 else (0, b"")


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Yield a file's complete lines, last one first."""
    lines = _backwards(path)
    first = next(lines, None)
    if first is None:
        return
    with open(path, "rb", opener=open_regular) as stream:
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) == b"\n":
            yield first
    yield from lines


def _backwards(path: Path) -> Iterator[bytes]:
    """Yield a file's lines, last one first."""
    with open(path, "rb", opener=open_regular) as stream:
        position, rest = stream.seek(0, os.SEEK_END), b""
        while position > 0:
            size = min(_BLOCK, position)
            position -= size
            stream.seek(position)
            lines = (stream.read(size) + rest).split(b"\n")
            rest = lines[0]
            yield from (line for line in reversed(lines[1:]) if line)
        if rest:
            yield rest
