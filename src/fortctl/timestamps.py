"""Times as people and scripts see them: RFC 3339, UTC, ending in Z. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

DAY_MS = 86_400_000


def rfc3339(milliseconds: int | None) -> str | None:
    """Return a time in milliseconds since the epoch as RFC 3339 text, or None."""
    if milliseconds is None:
        return None
    moment = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"


def age_days(since: int | None, now: int) -> int | None:
    """Return whole days between two times in milliseconds, or None."""
    return None if since is None else max(0, (now - since) // DAY_MS)


def parse_rfc3339(text: str) -> int:
    """Return an RFC 3339 time in milliseconds since the epoch. Raises ``ValueError``."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
