"""Rules for texts that people read (CONTRIBUTING.md)."""

from __future__ import annotations

import re

from fortctl import __version__
from support.harness import REPOSITORY

CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_changelog_opens_with_unreleased_and_the_version_of_the_package() -> None:
    assert re.findall(r"^## \[(.+?)\]", CHANGELOG, re.M)[:2] == ["Unreleased", __version__]


def test_an_entry_of_the_changelog_has_at_most_thirty_words() -> None:
    entries = re.findall(r"^- (.+(?:\n  .+)*)", CHANGELOG, re.M)
    assert len(entries) > 40
    assert not [entry for entry in entries if len(entry.split()) > 30]
