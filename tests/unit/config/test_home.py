"""The home: its modes, its paths, its configuration."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fortctl.config.file import AccountConfig, Config, load_config, save_config
from fortctl.config.home import ROBOTS, Home, check_account_name, default_home, make_private_folder
from fortctl.errors import ConfigError, ConflictError, NotFoundError, UsageError
from fortctl.system.files import write_private

GOOD = '[vault]\nslot = "keyfile"\n[accounts.default]\nexchange = "paper"\n'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.ensure()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_default_home_follows_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nobody")
    monkeypatch.setattr("sys.platform", "linux")
    assert default_home({}) == Path("/nobody/.local/share/fortctl")
    assert default_home({"XDG_DATA_HOME": "/data"}) == Path("/data/fortctl")
    assert default_home({"XDG_DATA_HOME": "relative"}) == Path("/nobody/.local/share/fortctl"), "XDG: ignore relative"
    monkeypatch.setattr("sys.platform", "darwin")
    assert default_home({}) == Path("/nobody/Library/Application Support/fortctl")


def test_every_folder_it_makes_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        make_private_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    assert [mode(tmp_path / part) for part in ("a", "a/b", "a/b/c")] == [0o700] * 3


def test_a_file_in_the_way_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    for path in (tmp_path / "file", tmp_path / "file" / "under"):
        with pytest.raises(ConfigError):
            Home(path).ensure()
        with pytest.raises(ConfigError):
            load_config(Home(path))


@pytest.mark.parametrize("bits", [0o701, 0o710, 0o740, 0o755, 0o777])
def test_an_open_home_is_refused_also_through_a_link(home: Home, tmp_path: Path, bits: int) -> None:
    link = Home(tmp_path / "link")
    link.path.symlink_to(home.path)
    link.check_modes()
    home.path.chmod(bits)
    for one in (home, link):
        with pytest.raises(ConfigError) as caught:
            one.check_modes()
        assert "chmod 700" in caught.value.hint


def test_open_files_inside_are_found(home: Home) -> None:
    (home.path / "sub").mkdir(mode=0o700)
    (home.path / "sub" / "open").touch()
    (home.path / "sub" / "open").chmod(0o644)
    (home.path / "link").symlink_to("/etc/passwd")
    (found,) = home.mode_problems()
    assert str(home.path / "sub" / "open") in found and "644" in found


def test_no_home_is_not_found_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load_config(Home(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "text",
    [
        "[accounts",
        "",
        "vault = 5\n",
        '[vault]\nslot = "floppy"\n',
        '[vault]\nslot = "keyfile"\naccounts = []\n'.replace("[vault]\n", "accounts = 1\n[vault]\n"),
        GOOD + 'robot = "elsewhere"\n',
        GOOD + "[mailbox]\nurl = 5\n",
        "mailbox = 5\n" + GOOD,
        GOOD.replace('exchange = "paper"', "exchange = 5"),
        GOOD.replace("accounts.default", 'accounts."../x"'),
        GOOD.replace('[accounts.default]\nexchange = "paper"', '[accounts]\ndefault = "paper"'),
    ],
)
def test_a_configuration_that_is_not_ours_is_refused(home: Home, text: str) -> None:
    home.config.write_text(text)
    with pytest.raises(ConfigError):
        load_config(home)


def test_bytes_that_are_no_text_and_a_folder_in_its_place(home: Home) -> None:
    home.config.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError):
        load_config(home)
    home.config.unlink()
    home.config.mkdir()
    with pytest.raises(ConfigError):
        load_config(home)


def test_load_config_accepts_a_byte_order_mark(home: Home) -> None:
    save_config(home, Config("keyfile"))
    home.config.write_bytes(b"\xef\xbb\xbf" + home.config.read_bytes())
    assert load_config(home).slot == "keyfile"


NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@given(
    names=st.lists(NAMES, unique=True, max_size=4),
    exchange=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    robot=st.sampled_from(ROBOTS),
    mailbox=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    other=st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name not in ("vault", "accounts", "mailbox")),
        st.integers(-9, 9) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        max_size=3,
    ),
)
def test_what_is_saved_is_what_is_loaded(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    exchange: str,
    robot: str,
    mailbox: str,
    other: dict[str, object],
) -> None:
    home = Home(tmp_path_factory.mktemp("saved"))
    accounts = {name: AccountConfig(name, exchange, robot) for name in names}
    config = Config("passphrase", accounts, mailbox=mailbox, other=other)
    save_config(home, config)
    assert load_config(home) == config
    assert mode(home.config) == 0o600
    assert os.listdir(home.path) == ["config.toml"]


def test_accounts_are_added_and_taken_away_without_touching_the_original() -> None:
    config = Config("keyfile", {"a": AccountConfig("a", "paper")})
    more = config.with_account(AccountConfig("b", "live", "none"))
    assert (list(config.accounts), list(more.accounts)) == (["a"], ["a", "b"])
    assert more.without_account("b") == config


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(home.config, b"old")

    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ConflictError, match="No space"):
        write_private(home.config, b"new")
    assert home.config.read_bytes() == b"old" and os.listdir(home.path) == ["config.toml"]


def test_a_link_planted_in_the_way_is_not_followed(home: Home, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    (home.path / f".config.toml.{os.getpid()}").symlink_to(victim)
    write_private(home.config, b"new")
    assert victim.read_bytes() == b"untouched" and home.config.read_bytes() == b"new"


@given(NAMES)
def test_account_names(name: str) -> None:
    assert check_account_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "-x", "a/b", "a b", "a\n", "ä", "x" * 65])
def test_names_that_would_be_paths_or_options_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_account_name(name)
