"""The settings of config.toml: types, bounds, defaults, and what is kept without being known."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from fortctl.config.file import AccountConfig, Config
from fortctl.config.settings import (
    HOOKS,
    LOG_FILES,
    LOG_MAX_SIZE,
    METRICS_LISTEN,
    NOTIFY_EVENTS,
    NOTIFY_URLS_FILE,
    RESUME_MAX_DRIFT,
    RESUME_MAX_GAP,
    ROBOT_DEADMAN,
    SETTINGS,
    HomeSettings,
    find_setting,
    format_duration,
    parse_duration,
    unknown_names,
    with_value,
)
from fortctl.errors import ConfigError, UsageError
from support.harness import REPOSITORY
from tools.docgen import replace_section
from tools.settings_table import NAME, generated

HOUR = 3_600_000


def test_the_documented_defaults() -> None:
    nothing = HomeSettings({})
    assert nothing.get(RESUME_MAX_GAP) == 6 * HOUR
    assert nothing.get(RESUME_MAX_DRIFT) == Decimal(5)
    assert nothing.get(ROBOT_DEADMAN) == 300_000
    assert nothing.get(METRICS_LISTEN) is None
    nothing.check()


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_default_is_written_and_read_back_through_toml(setting: Any) -> None:
    table = with_value({}, setting.path, setting.kind.write(setting.default))
    again = HomeSettings(tomllib.loads(tomli_w.dumps(table)))
    assert again.get(setting) == setting.default
    assert unknown_names(table) == []


@given(st.integers(0, 10**9 - 1))
def test_durations_are_shown_as_they_are_read(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("resume.max_gap", "30m", 1_800_000),
        ("resume.max_gap", "2w", 14 * 24 * HOUR),
        ("resume.max_drift", "2.50%", Decimal("2.5")),
        ("robot.deadman", "off", None),
        ("keys.max_age", "90d", 90 * 24 * HOUR),
        ("log.max_size", "512KiB", 524_288),
        ("log.files", "7", 7),
        ("log.level", "debug", "debug"),
        ("notify.events", "on-held,on-panic", ("on-held", "on-panic")),
        ("hooks.on-held", '["/bin/tell", "me"]', ("/bin/tell", "me")),
        ("hooks.on-held", "/bin/tell", ("/bin/tell",)),
        ("hooks.on-held", "off", ()),
    ],
)
def test_what_a_person_types(name: str, word: str, value: Any) -> None:
    assert find_setting(name).parse_words([word]) == value


def test_addresses_are_loopback_unless_told() -> None:
    assert str(METRICS_LISTEN.parse_words(["9464"])) == "127.0.0.1:9464"
    assert str(METRICS_LISTEN.parse_words(["0.0.0.0:9464"])) == "0.0.0.0:9464"
    assert str(METRICS_LISTEN.parse_words(["[::1]:9464"])) == "[::1]:9464"


def test_several_words_are_one_argument_list() -> None:
    assert HOOKS["pre-rotate"].parse_words(["/bin/tell", "a b", "$x;"]) == ("/bin/tell", "a b", "$x;")
    with pytest.raises(UsageError):
        RESUME_MAX_GAP.parse_words(["6", "h"])


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("resume.max_gap", 6),
        ("resume.max_gap", "0s"),
        ("resume.max_gap", "6 h"),
        ("resume.max_gap", "-6h"),
        ("resume.max_gap", "1000d"),
        ("resume.max_gap", "off"),
        ("resume.max_drift", "0"),
        ("resume.max_drift", "NaN"),
        ("resume.max_drift", "1e5"),
        ("resume.max_drift", float("inf")),
        ("resume.max_drift", True),
        ("robot.deadman", "1s"),
        ("metrics.listen", "0"),
        ("metrics.listen", "99999"),
        ("metrics.listen", "::1:9464"),
        ("log.files", 0),
        ("log.files", "٣"),
        ("log.max_size", "8"),
        ("log.level", "loud"),
        ("hooks.on-held", "notify-send held"),
        ("hooks.on-held", [1]),
        ("hooks.on-held", "[/bin/tell"),
        ("hooks.on-held", ["/bin/tell"] * 65),
        ("notify.urls_file", "urls"),
        ("notify.events", ["on-fire"]),
    ],
)
def test_what_is_no_value_is_refused_typed_and_in_the_file(name: str, raw: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        HomeSettings(with_value({}, name.split("."), raw)).get(SETTINGS[name])
    assert name in caught.value.message
    if isinstance(raw, str):
        with pytest.raises(UsageError):
            SETTINGS[name].parse_words([raw])


def test_unknown_names_are_refused_with_the_nearest_and_kept_in_the_file() -> None:
    with pytest.raises(UsageError) as caught:
        find_setting("resume.max_gpa")
    assert "resume.max_gap" in caught.value.hint
    table = {"resume": {"max_gap": "1h", "later": 1}, "site": {"port": 8080}}
    assert unknown_names(table) == ["resume.later", "site"]
    changed = with_value(table, RESUME_MAX_GAP.path, None)
    assert changed == {"resume": {"later": 1}, "site": {"port": 8080}} and table["resume"]["max_gap"] == "1h"


def test_an_accounts_own_setting_goes_before_the_homes() -> None:
    config = Config("keyfile", {name: AccountConfig(name, "paper") for name in ("a", "b.c")})
    config = config.with_setting(METRICS_LISTEN, "9464").with_setting(METRICS_LISTEN, "9465", "b.c")
    assert [str(config.settings_for(name).get(METRICS_LISTEN)) for name in ("a", "b.c", "none")] == [
        "127.0.0.1:9464",
        "127.0.0.1:9465",
        "127.0.0.1:9464",
    ]
    again = config.with_account(AccountConfig("b.c", "paper", "none"))
    assert str(again.settings_for("b.c").get(METRICS_LISTEN)) == "127.0.0.1:9465", "kept when the account is changed"
    assert config.with_setting(METRICS_LISTEN, None, "b.c").accounts["b.c"].other == {}


def test_a_value_where_a_table_must_be_is_no_crash() -> None:
    with pytest.raises(ConfigError):
        with_value({"resume": 5}, RESUME_MAX_GAP.path, "1h")
    assert HomeSettings({"resume": 5}).get(RESUME_MAX_GAP) == 6 * HOUR
    assert unknown_names({"resume": 5}) == ["resume"]


def test_lists_and_sizes_are_canonical() -> None:
    assert NOTIFY_EVENTS.read(["on-panic", "on-held", "on-held"]) == ("on-held", "on-panic")
    assert LOG_MAX_SIZE.kind.write(8 * 1024**2) == "8MiB" and LOG_FILES.kind.write(3) == 3
    assert NOTIFY_URLS_FILE.read("/etc/fortctl/urls") == "/etc/fortctl/urls"


def test_the_documents_table_is_what_the_code_knows() -> None:
    text = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert replace_section(text, NAME, generated()) == text, "run: python -m tools.settings_table"
