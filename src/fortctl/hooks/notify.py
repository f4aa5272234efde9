"""Tell an event through Apprise: a hook that fortctl brings along (extra ``notify``).

Usage: ``python -m fortctl.hooks.notify FILE``, the event on standard input. FILE holds Apprise's URLs, one a line; they
hold passwords, so it must be this user's alone. What is told holds nothing secret.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fortctl.system.files import open_regular

_URLS_LIMIT = 64 * 1024


def message(event: Mapping[str, Any]) -> tuple[str, str]:
    """Return the title and the text of an event."""
    facts = event.get("facts") or {}
    title = f"fortctl: {event['event']} (account {event['account']})"
    lines = [f"{name}: {_shown(value)}" for name, value in facts.items()]
    return title, "\n".join([*lines, f"host: {event.get('host', '')}", f"at: {event.get('at', '')}"])


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value) or "–"
    if isinstance(value, Mapping):
        return str(value.get("text") or " ".join(f"{name}={item}" for name, item in value.items()))
    return str(value)


def read_urls(path: Path) -> list[str]:
    """Return the URLs of a file. Raises ``PermissionError`` where others may read it, ``OSError``."""
    descriptor = open_regular(path, os.O_RDONLY)
    with open(descriptor, encoding="utf-8") as stream:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise PermissionError(13, "other users may read the file of URLs: chmod 600")
        lines = (line.strip() for line in stream.read(_URLS_LIMIT).splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def main(words: list[str]) -> int:
    """Tell the event of standard input; return the exit code."""
    event = json.loads(sys.stdin.buffer.read())
    try:
        import apprise
    except ImportError:
        print("notifications need a library that is not installed: install 'fortctl[notify]'", file=sys.stderr)
        return 2
    try:
        urls = read_urls(Path(words[0]))
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        return 2
    told = apprise.Apprise()
    # A URL that is not understood is never repeated: it may hold a password.
    understood = sum(bool(told.add(url)) for url in urls)
    if understood < len(urls) or not urls:
        print(f"{len(urls) - understood} of {len(urls)} URLs are not understood", file=sys.stderr)
    title, body = message(event)
    sent = bool(understood) and bool(told.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT))
    if not sent:
        print("the notification was not delivered to every address", file=sys.stderr)
    return 0 if sent and understood == len(urls) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
