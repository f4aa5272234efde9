"""Slots of a vault: whose key file is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from fortctl.errors import ConfigError
from fortctl.vault.slots import read_keyfile


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o640, 0o620, 0o610, 0o644])
def test_a_key_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "vault.key"
    path.write_bytes(b"k" * 32)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="may be read by other users"):
        read_keyfile(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_file_of_the_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "vault.key"
    path.write_bytes(b"k" * 32)
    path.chmod(mode)
    assert read_keyfile(path) == b"k" * 32
