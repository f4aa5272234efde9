"""Send an event through Apprise: a hook that comes with fortctl (extra ``notify``).

Usage: ``python -m fortctl.hooks.notify FILE``, with the event on standard input. FILE has one Apprise URL a line. They
contain passwords, so only the file's owner may read it. Events contain no secrets.
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
    fields = event.get("facts") or {}
    title = f"fortctl: {event['event']} (account {event['account']})"
    lines = [f"{name}: {_as_text(value)}" for name, value in fields.items()]
    return title, "\n".join([*lines, f"host: {event.get('host', '')}", f"at: {event.get('at', '')}"])


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_as_text(item) for item in value) or "–"
    if isinstance(value, Mapping):
        return str(value.get("text") or " ".join(f"{name}={item}" for name, item in value.items()))
    return str(value)


def read_urls(path: Path) -> list[str]:
    """Return the URLs in a file. Raises ``PermissionError`` if other users may read it, ``OSError``."""
    descriptor = open_regular(path, os.O_RDONLY)
    with open(descriptor, encoding="utf-8") as stream:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise PermissionError(13, "other users may read the file of URLs (chmod 600 it)")
        lines = (line.strip() for line in stream.read(_URLS_LIMIT).splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def main(words: list[str]) -> int:
    """Send the event on standard input; return the exit code."""
    event = json.loads(sys.stdin.buffer.read())
    try:
        import apprise
    except ImportError:
        print("notifications need the package apprise: install 'fortctl[notify]'", file=sys.stderr)
        return 2
    try:
        urls = read_urls(Path(words[0]))
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        return 2
    notifier = apprise.Apprise()
    # A URL may contain a password, so an invalid one is not repeated in the message.
    valid = sum(bool(notifier.add(url)) for url in urls)
    if valid < len(urls) or not urls:
        print(f"{len(urls) - valid} of {len(urls)} URLs are invalid", file=sys.stderr)
    title, body = message(event)
    sent = bool(valid) and bool(notifier.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT))
    if not sent:
        print("the notification was not delivered to every URL", file=sys.stderr)
    return 0 if sent and valid == len(urls) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
