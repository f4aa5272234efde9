"""Keep secrets from leaving this process's memory, as far as the system allows (adapter).

Core dumps are switched off (setrlimit(2)); on Linux other processes of the same user may neither attach nor read the
memory (prctl(2), PR_SET_DUMPABLE); a long-lived process is kept out of swap where its limit allows (mlockall(2)).
CPython and its libraries copy secrets; :class:`SecretScrubber` finds and overwrites the copies of a secret to forget.
"""

from __future__ import annotations

import base64
import contextlib
import mmap
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator

from fortctl.secret import Secret
from fortctl.system.threads import run_in_own_thread

_PR_SET_DUMPABLE, _MCL_CURRENT, _MCL_FUTURE = 4, 1, 2
# Shorter matches are ignored, because they occur by chance.
PIECE = 8
_WORD = 4
_CHUNK, _OVERLAP, _BLOCK = 512 * 1024, 8 * 1024, 1024
# Overwrite at most this many bytes at a time: CPython allocates no new object for an integer up to 256.
_AT_ONCE = 256
# How often, and at which interval (s), to check whether the other threads have ended.
_THREAD_CHECKS, _THREAD_CHECK_INTERVAL_S = 100, 0.05
# Length of the common prefix of all private keys of a kind, in base64 characters and in bytes (RFC 8410, RFC 8017).
_COMMON = {"ed25519": (22, 16), "rsa": (52, 39)}

# /proc/self/mem; opened early, because PR_SET_DUMPABLE makes it root's (proc(5)), and a robot is not root.
_own_memory: list[int] = []


def guard_memory(*, lock: bool = False) -> bool:
    """Guard this process's memory as far as the system allows.

    Args:
        lock: also keep it out of swap and prepare for :class:`SecretScrubber` (for long-lived processes).

    Returns:
        Whether the memory is locked.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    if lock and not _own_memory:
        _own_memory.extend(_open_own_memory())
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    # With a limit, a later allocation would fail instead of being swapped.
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == resource.RLIM_INFINITY
    return bool(lock and unlimited and libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) == 0)


def _open_own_memory() -> list[int]:
    try:
        return [os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)]
    except OSError:
        return []


class SecretScrubber:
    """Finds and overwrites copies of secrets in this process's memory, down to pieces of :data:`PIECE` bytes.

    The search takes long and may run in a thread of its own. Overwriting is short, and needs this to be the only
    thread: another thread could allocate memory that was just searched, and would lose its content.

    Args:
        forgotten: secrets to overwrite: API keys, secret keys, PEM private keys, raw keys.
        kept: secrets that stay in use; a secret in both lists is not overwritten.
    """

    def __init__(self, forgotten: Iterable[Secret], kept: Iterable[Secret] = ()) -> None:
        self._memory = _own_memory or _open_own_memory()
        self._places: list[tuple[int, int, int]] = []
        stay = {form for secret in kept for form in _forms(secret)}
        forms = [form for secret in forgotten for form in _forms(secret) if form not in stay and len(form) >= PIECE]
        # The patterns and the window lie outside what is searched, and are overwritten at the end.
        self._own = mmap.mmap(-1, _CHUNK + max(1, sum(len(form) for form in forms)))
        self._spans, at = [], _CHUNK
        for form in forms:
            self._own[at : at + len(form)] = form
            self._spans.append((at, at + len(form)))
            at += len(form)

    def find(self) -> None:
        """Search the memory; a system without ``/proc/self/mem`` finds nothing."""
        if self._memory and self._spans:
            self._places = _find(self._memory[0], self._own, self._spans)
            self._own[:_CHUNK] = bytes(_CHUNK)

    def overwrite(self) -> int:
        """Overwrite every copy that is still where it was found; return how many places were overwritten.

        Nothing is overwritten while the process has another thread (decision 0020). Copies that are still in use are
        overwritten too, so the caller must not need the secrets any more.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            return sum(self._wipe(*place) for place in self._places) if is_single_threaded() else 0
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._own[:] = bytes(len(self._own))
            self._own.close()

    async def clean(self) -> tuple[int, int]:
        """Search in a thread of its own, then overwrite once the process has no other thread; give up after 5 s.

        Returns:
            The number of places where a copy was found, and of those that were overwritten.
        """
        from asyncio import sleep

        await run_in_own_thread(self.find)
        for _check in range(_THREAD_CHECKS):
            if is_single_threaded():
                break
            await sleep(_THREAD_CHECK_INTERVAL_S)
        return len(self._places), self.overwrite()

    def _wipe(self, address: int, pattern: int, length: int) -> bool:
        """Overwrite the pieces that still match; a part of the place may be in other use by now."""
        own, wiped, start = self._own, False, 0
        with contextlib.suppress(OSError):  # the mapping is gone
            # Read into the window, because a bytes object would be one more copy.
            with memoryview(own)[:length] as window:
                got = os.preadv(self._memory[0], [window], address)
            for at in range(got + 1):
                if at < got and at - start < _AT_ONCE and own[at] == own[pattern + at]:
                    continue
                if at - start >= PIECE:
                    wiped |= self._replace(address + start, pattern + start, at - start)
                start = at if at < got and own[at] == own[pattern + at] else at + 1
        return wiped

    def _replace(self, address: int, pattern: int, length: int) -> bool:
        """Overwrite a piece if it still matches; between comparing and writing, nothing is allocated or freed.

        Otherwise the allocator could reuse this very place in between. Everything that the calls need is allocated
        before; an integer up to :data:`_AT_ONCE` and the result of a comparison are not new objects.
        """
        memory, own = self._memory[0], memoryview(self._own)
        window, expected, zeros = own[:length], own[pattern : pattern + length], own[_CHUNK - length : _CHUNK]
        into = [window]
        try:
            if os.preadv(memory, into, address) == length and window == expected:
                os.pwrite(memory, zeros, address)
                return True
            return False
        finally:
            into.clear()
            for view in (window, expected, zeros, own):
                view.release()


def is_single_threaded() -> bool:
    """Return whether this process has a single thread (Linux only)."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def scrub(forgotten: Iterable[Secret], kept: Iterable[Secret] = ()) -> int:
    """Find and overwrite copies of secrets in this thread; return the number of places overwritten."""
    scrubber = SecretScrubber(forgotten, kept)
    scrubber.find()
    return scrubber.overwrite()


def _forms(secret: Secret) -> Iterator[bytes]:
    """Yield the byte forms in which a library may have copied a secret."""
    text = secret.reveal_bytes()
    if b"-----BEGIN" not in text:
        yield text
        return
    lines = [line for line in text.splitlines() if line and not line.startswith(b"-----")]
    body = b"".join(lines)
    characters, octets = _COMMON["ed25519" if len(body) <= 64 else "rsa"]
    with contextlib.suppress(ValueError):
        raw = base64.b64decode(body)[octets:]
        # Libraries also store integers little-endian.
        yield from (raw, raw[::-1])
    for number, line in enumerate(lines):
        yield line[characters:] if number == 0 else line


def _find(memory: int, own: mmap.mmap, spans: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return the address, the offset in ``own`` and the length of each match with a pattern in ``own``."""
    words: dict[int, list[int]] = {}
    for start, end in spans:
        for at in range(start, end - _WORD + 1):
            words.setdefault(int.from_bytes(own[at : at + _WORD], sys.byteorder), []).append(at)
    limits = {at: span for span in spans for at in range(*span)}
    matches = []
    for address, size in _chunks(own):
        try:
            got = os.preadv(memory, [memoryview(own)[:size]], address)
        except OSError:
            continue  # the mapping is gone or unreadable
        for at, word in _hits(own, got, frozenset(words)):
            for pattern in words[word]:
                start, end = _common(own, at, pattern, got, limits[pattern])
                if end - start >= PIECE:
                    matches.append((address + start, pattern - (at - start), end - start))
                    own[start:end] = bytes(end - start)
                    break
    return matches


def _hits(own: mmap.mmap, got: int, words: frozenset[int]) -> Iterator[tuple[int, int]]:
    """Yield the offset in the window and the value of each occurrence of a word; every piece has an aligned one."""
    with memoryview(own)[: got - got % _WORD].cast("I") as view:
        if words.isdisjoint(view):
            return
        for first in range(0, len(view), _BLOCK):
            for word in words.intersection(view[first : first + _BLOCK]):
                needle, at = word.to_bytes(_WORD, sys.byteorder), first * _WORD - 1
                end = min(got, (first + _BLOCK) * _WORD)
                while (at := own.find(needle, at + 1, end)) >= 0:
                    yield at, word


def _common(own: mmap.mmap, at: int, pattern: int, got: int, span: tuple[int, int]) -> tuple[int, int]:
    """Return the start and end of the match between window and pattern around a word that both contain."""
    start, left = at, pattern
    while start > 0 and left > span[0] and own[start - 1] == own[left - 1]:
        start, left = start - 1, left - 1
    end, right = at + _WORD, pattern + _WORD
    while end < got and right < span[1] and own[end] == own[right]:
        end, right = end + 1, right + 1
    return start, end


def _chunks(own: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yield the address and size of the chunks of this process's writable memory, except ``own``."""
    import ctypes

    place = ctypes.addressof(ctypes.c_char.from_buffer(own))
    behind = place + -(-len(own) // mmap.PAGESIZE) * mmap.PAGESIZE
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        lines = maps.read().splitlines()
    for line in lines:
        fields = line.split(maxsplit=5)
        start, _dash, end = fields[0].partition("-")
        if not fields[1].startswith("rw"):
            continue
        # The kernel may show neighbouring mappings as one.
        for first, last in _without(int(start, 16), int(end, 16), place, behind):
            for address in range(first, last, _CHUNK - _OVERLAP):
                yield address, min(_CHUNK, last - address)


def _without(first: int, last: int, hole: int, behind: int) -> Iterator[tuple[int, int]]:
    if hole >= last or behind <= first:
        yield first, last
        return
    if first < hole:
        yield first, hole
    if behind < last:
        yield behind, last
