"""The audit log: append-only JSON lines, each with the hash of the one before (adapter).

A writer that has the vault open seals its entries with an HMAC under a key that is a vault record; entries written
locked (panic) stay unsealed for ever.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fortctl.errors import ConflictError, VaultDamagedError
from fortctl.secret import Secret, redact
from fortctl.system.clock import SystemClock
from fortctl.system.files import NotARegularFileError, open_regular, write_all
from fortctl.timestamps import rfc3339

GENESIS = "0" * 64
_BLOCK = 64 * 1024
_BEGIN_AGAIN = "see 'fortctl doctor'; move audit.jsonl aside to begin a new chain, then 'fortctl vault accept'"


@dataclass(frozen=True)
class AuditCheck:
    """An audit log that is intact.

    Attributes:
        entries: how many there are.
        sealed: how many bear this home's seal; 0 where the vault was not unlocked.
        head: the last entry's hash.
    """

    entries: int
    sealed: int
    head: str


class AuditLogFile:
    """``audit.jsonl``; implements :class:`fortctl.ports.AuditLog`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: bytes | None = None

    def seal_with(self, key: Secret) -> None:
        """Seal the entries of this process from here on."""
        self._key = key.reveal_bytes()

    def append(self, what: str, *, account: str, result: str, best_effort: bool = False, **facts: Any) -> None:
        """Append one entry, durably.

        Args:
            what: the operation.
            account: the account it is about.
            result: ``intent``, ``result``, ``done``, or an error code.
            best_effort: write what can be written, and never raise (panic).
            facts: more JSON values, nothing secret.

        Raises:
            VaultDamagedError: the log's end is not an entry, or one that was changed; or the log is no plain file.
            ConflictError: the disk does not take the entry; the log is as it was.
        """
        try:
            self._append({"what": what, "account": account, "result": result, **facts}, strict=not best_effort)
        except NotARegularFileError:
            if not best_effort:
                raise _no_file() from None
        except OSError as error:
            if not best_effort:
                raise ConflictError(
                    f"the audit log cannot be written: {error.strerror}",
                    hint="make room or mend the disk, then try again",
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
                # A crash or a full disk left half an entry, whose operation never went on.
                os.ftruncate(descriptor, end)
                torn = {"what": "torn end removed", "account": "", "result": "done", "bytes": size - end}
                before, end = self._written(descriptor, end, before, torn)
            self._written(descriptor, end, before, facts)
        finally:
            os.close(descriptor)

    def _written(
        self, descriptor: int, end: int, before: dict[str, Any] | None, facts: dict[str, Any]
    ) -> tuple[dict[str, Any], int]:
        """Write one entry at the end; return it and the new end. What the disk does not take leaves nothing behind."""
        entry = {
            "seq": before["seq"] + 1 if before else 1,
            "time": rfc3339(SystemClock().now_ms()),
            "who": {"user": _user(), "host": os.uname().nodename, "pid": os.getpid()},
            **facts,
            "prev": before["hash"] if before else GENESIS,
            # Under the hash, so that nobody takes a seal away and leaves the rest as it is.
            "sealed": self._key is not None,
        }
        entry["hash"] = _hash(entry)
        entry["seal"] = hmac.digest(self._key, entry["hash"].encode(), "sha256").hex() if self._key else None
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
            VaultDamagedError: at a line that is not as an entry is written; or the log is no plain file.
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
                        f"line {number} of the audit log is {'half an' if torn else 'no'} entry",
                        hint="a crash may leave it so: the next command that writes takes it away" if torn else None,
                        details={"entry": number, "reason": "torn_end" if torn else "no_entry"},
                    )
                yield entry

    def generations(self) -> tuple[int, int] | None:
        """Return the highest generation of the site's vault that was intended, and the last one that was reached.

        Reads from the end only as far as it must. None: no entry tells of one.

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
            raise _no_file() from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise VaultDamagedError("the audit log's end is no entry", hint=_BEGIN_AGAIN) from None
        return (intended, 0) if intended else None

    def head(self) -> tuple[int, str] | None:
        """Return the last entry's number and hash, or None where there is none to be read."""
        try:
            last = json.loads(next(_whole_lines(self._path)))
            return int(last["seq"]), str(last["hash"])
        except (OSError, ValueError, KeyError, TypeError, StopIteration, RecursionError):
            return None

    def check(self, anchor: tuple[int, str] | None = None) -> AuditCheck:
        """Check the whole chain, and the seals where the key is at hand.

        Args:
            anchor: the number and hash of an entry that somebody else remembers (a paired robot).

        Raises:
            VaultDamagedError: an entry was changed, cut or moved; ``details.entry`` says where.
        """
        before, count, sealed = GENESIS, 0, 0
        for entry in self.entries():
            count += 1
            seal = entry.pop("seal", None)
            claimed = entry.pop("hash", None)
            if entry.get("seq") != count or entry.get("prev") != before or _hash(entry) != claimed:
                raise VaultDamagedError(
                    f"the audit log was changed at entry {count}",
                    hint="compare it with a backup; the chain breaks there",
                    details={"entry": count},
                )
            if self._key is not None:
                sealed += self._seal_fits(entry, str(claimed), seal, count)
            before = str(claimed)
            if anchor is not None and anchor[0] == count and anchor[1] != before:
                raise VaultDamagedError(
                    f"audit entry {count} is not the one that the robot saw", details={"entry": count}
                )
        if anchor is not None and anchor[0] > count:
            raise VaultDamagedError(
                f"the audit log ends at entry {count}, but the robot has seen entry {anchor[0]}: it was cut",
                details={"entry": count},
            )
        return AuditCheck(count, sealed, before)

    def _seal_fits(self, entry: Mapping[str, Any], claimed: str, seal: object, count: int) -> bool:
        """Return whether an entry bears a seal. Raises ``VaultDamagedError``: a wrong one, or none where there must
        be one.

        A change of the vault is told by whoever has unlocked it, and the vault's generation asks for that entry: so
        nobody can strip the seals of a log that he has written anew.
        """
        if seal is None:
            if entry.get("generation") or entry.get("sealed"):
                raise VaultDamagedError(f"audit entry {count} bears no seal, though it must", details={"entry": count})
            return False
        expected = hmac.digest(self._key or b"", claimed.encode(), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), str(seal).encode()):
            raise VaultDamagedError(f"the seal of audit entry {count} is not this home's", details={"entry": count})
        return True


def _no_file() -> VaultDamagedError:
    return VaultDamagedError("the audit log is no plain file", hint=f"see what was put in its place; {_BEGIN_AGAIN}")


def _reading(path: Path) -> IO[bytes]:
    try:
        return open(path, "rb", opener=open_regular)
    except NotARegularFileError:
        raise _no_file() from None


def redact_values(entry: dict[str, Any]) -> dict[str, Any]:
    """Mask what looks like key material in the free texts (the hashes of the chain are left alone)."""
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
    """Return whether a line is an entry as it is written, with the hash that it must have."""
    return _line(entry) == line + b"\n" and entry["hash"] == _hash(entry)


def _last_line(descriptor: int, size: int) -> tuple[int, bytes]:
    """Return where the last whole line ends, and the line; what follows it is half an entry."""
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
    """Yield a file's lines, the last one first, without what a crash left of an entry behind them."""
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
    """Yield a file's lines, the last one first."""
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


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
