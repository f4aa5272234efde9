"""Rules for texts that people read (CONTRIBUTING.md)."""

from __future__ import annotations

import re

from fortctl import __version__
from support.harness import REPOSITORY
from tools.retired_words import SOURCE, find_in

CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_source_uses_no_retired_word() -> None:
    assert not [f"{path}:{line}: {words} ({instead})" for path, line, words, instead in find_in(SOURCE)]


def test_the_changelog_opens_with_unreleased_and_the_version_of_the_package() -> None:
    assert re.findall(r"^## \[(.+?)\]", CHANGELOG, re.M)[:2] == ["Unreleased", __version__]


def test_an_entry_of_the_changelog_has_at_most_thirty_words() -> None:
    entries = re.findall(r"^- (.+(?:\n  .+)*)", CHANGELOG, re.M)
    assert len(entries) > 40
    assert not [entry for entry in entries if len(entry.split()) > 30]


def test_every_link_between_documents_leads_somewhere() -> None:
    pages = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            file, _mark, heading = target.partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            path = page.parent / file if file else page
            if not path.exists() or (heading and heading not in _headings(path.read_text(encoding="utf-8"))):
                broken.append(f"{page.relative_to(REPOSITORY)}: {target}")
    assert not broken


def _headings(text: str) -> set[str]:
    """Return the anchors that GitHub makes of the headings of *text*."""
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
