"""What the source cites exists: a document of ours and its heading, a public Binance page, a rule of the robot."""

from __future__ import annotations

import re

from support.harness import REPOSITORY

# Pages of binance-spot-api-docs, and of its faqs.
BINANCE = {
    *("enums.md", "errors.md", "filters.md", "rest-api.md", "user-data-stream.md", "web-socket-api.md"),
    *("web-socket-streams.md", "testnet/general-info.md", "faqs/api_key_types.md", "faqs/order_amend_keep_priority.md"),
    *("faqs/order_count_decrement.md", "faqs/stp_faq.md", "faqs/trailing-stop-faq.md"),
}
SOURCES = {
    str(path.relative_to(REPOSITORY)): re.sub(r"\s*\n\s*#?\s*", " ", path.read_text(encoding="utf-8"))
    for path in sorted((REPOSITORY / "src").rglob("*.py"))
}


def text_of(page: str) -> str | None:
    """Return a document of ours that is cited as ``docs/X.md`` or ``X.md``; None if there is none."""
    path = next((path for path in (REPOSITORY / page, REPOSITORY / "docs" / page) if path.is_file()), None)
    return path.read_text(encoding="utf-8") if path else None


def test_every_page_that_the_source_cites_exists() -> None:
    cited = [(file, page) for file, text in SOURCES.items() for page in re.findall(r"[\w/.-]*\w\.md\b", text)]
    assert len(cited) > 80
    assert not [(file, page) for file, page in cited if page not in BINANCE and text_of(page) is None]


def test_every_section_that_the_source_cites_exists() -> None:
    dead, found = [], 0
    for file, text in SOURCES.items():
        for page, section in re.findall(r'([\w/.-]*\w\.md),? "([^"]+)"', text):
            own = text_of(page)
            if own is None:
                continue
            found += 1
            if section not in {re.sub(r" \(.*", "", title) for title in re.findall(r"^#+ (.+)$", own, re.M)}:
                dead.append((file, page, section))
    assert found > 10
    assert not dead


def test_every_rule_that_the_source_and_the_documents_cite_is_an_invariant_of_the_robot() -> None:
    page = text_of("robot.md") or ""
    rules = set(re.findall(r"^(\d)\. \*\*", page.partition("## Eight invariants")[2].partition("\n## ")[0], re.M))
    assert rules == set("12345678")
    texts = [*SOURCES.values(), *(path.read_text(encoding="utf-8") for path in (REPOSITORY / "docs").rglob("*.md"))]
    cited = {
        number
        for text in texts
        for numbers in re.findall(r"\b(?:rules?|invariants?) (\d+(?:, \d+)*)", text)
        for number in numbers.split(", ")
    }
    assert {"1", "2", "5", "6"} <= cited <= rules


def test_no_unpublished_specification_is_cited() -> None:
    assert not [file for file, text in SOURCES.items() if re.search(r"\b(?:contract|binance)\.md|the contract's", text)]
