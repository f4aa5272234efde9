"""What a person types as a passphrase: one form for new vaults, every form of before for old ones."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fortctl.errors import BadInputError, VaultLockedError
from fortctl.secret import Secret
from fortctl.vault.envelope import unwrap, wrap
from fortctl.vault.passphrases import new_passphrase, spellings, weakness
from fortctl.vault.slots import FLOOR, Passphrase

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(lambda text: text[0] != "\ufeff")


@given(TEXTS, st.sampled_from(["", "\n", "\r\n"]), st.booleans())
def test_new_passphrase_is_the_same_for_every_way_to_type_it(text: str, ending: str, marked: bool) -> None:
    expected = unicodedata.normalize("NFC", text).encode()
    for form in ("NFC", "NFD"):
        typed = (("\ufeff" if marked else "") + unicodedata.normalize(form, text) + ending).encode()
        stored = new_passphrase(typed)
        assert stored.reveal_bytes() == expected
        assert new_passphrase(stored.reveal_bytes()) == stored, "it can pass through twice"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("secret".encode("utf-16"), "UTF-16"),
        ("secret".encode("utf-16-le"), "UTF-16"),
        (b"caf\xe9", "not valid UTF-8"),
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\xef\xbb\xbf\n", "empty"),
    ],
)
def test_new_passphrase_refuses_what_could_not_be_typed_again(data: bytes, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as refused:
        new_passphrase(data)
    assert "caf" not in refused.value.message and "secret" not in refused.value.message


@given(st.binary(min_size=1, max_size=40))
def test_spellings_hold_the_exact_bytes_that_earlier_versions_used(data: bytes) -> None:
    forms = [form.reveal_bytes() for form in spellings(Secret(data))]
    assert data in forms and len(forms) == len(set(forms)) <= 3


@pytest.mark.parametrize(
    "exact", [b"\xef\xbb\xbfword", b"word\n", "cafe\u0301".encode(), b"caf\xe9", "wort".encode("utf-16")]
)
def test_unwrap_opens_a_slot_of_an_earlier_version(exact: bytes) -> None:
    slot = wrap(bytes(32), "v", Passphrase(Secret(exact)), FLOOR)
    assert unwrap(slot, "v", Passphrase(Secret(exact))) == bytes(32)


def test_unwrap_opens_a_new_slot_however_the_passphrase_is_typed() -> None:
    slot = wrap(bytes(32), "v", Passphrase(new_passphrase("caf\u00e9".encode())), FLOOR)
    assert unwrap(slot, "v", Passphrase(Secret("\ufeffcafe\u0301\n".encode()))) == bytes(32)
    with pytest.raises(VaultLockedError, match="the passphrase does not unlock"):
        unwrap(slot, "v", Passphrase(Secret(b"cafe")))


def test_weakness_names_a_reason_for_short_and_guessable_ones_alone() -> None:
    assert weakness(Secret("password1"))
    assert weakness(Secret("qwerty"))
    assert not weakness(Secret("password1 password1")), "long ones are not judged"
    assert not weakness(Secret("x9$Kq!7vTz#")), "short, but not guessable"
