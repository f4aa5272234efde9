"""Times as RFC 3339 text (UTC, ending in Z), and ages in days. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

DAY_MS = 86_400_000


def rfc3339(milliseconds: int | None) -> str | None:
    """Return a time in milliseconds since the epoch as RFC 3339 text; None stays None."""
    if milliseconds is None:
        return None
    moment = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"


def age_days(since: int | None, now: int) -> int | None:
    """Return the whole days between two times in milliseconds, at least 0; None if *since* is None."""
    return None if since is None else max(0, (now - since) // DAY_MS)


def parse_rfc3339(text: str) -> int:
    """Return an RFC 3339 time in milliseconds since the epoch. Raises ``ValueError``."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
