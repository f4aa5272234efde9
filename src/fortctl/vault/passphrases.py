"""What a person types as a passphrase, and the bytes that unlock a vault. Pure.

Two keyboards can produce the same word from different code points, an editor can put a byte-order mark before it, and
a variable can end with a line break. A new passphrase is stored in one form (NFC, Unicode Standard Annex #15). Vaults
of earlier versions were made with the bytes exactly as they came, so both forms are tried when a vault is unlocked.
"""

from __future__ import annotations

import unicodedata

from fortctl.errors import BadInputError
from fortctl.secret import Secret

SHORT = 12
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# zxcvbn's scale: 0 and 1 are guessed online, 2 within hours offline, 3 is "safely unguessable" for a slow hash.
_SAFE_SCORE = 3


def first_line(data: bytes) -> bytes:
    """Return the first line of a passphrase file or variable, without the line break."""
    return data.split(b"\n", 1)[0].rstrip(b"\r")


def new_passphrase(data: bytes) -> Secret:
    """Return a new passphrase in the form in which vaults store it: NFC, without a byte-order mark or a line break.

    Raises:
        BadInputError: it is empty, UTF-16, or not UTF-8.
    """
    if data.startswith(_UTF16_MARKS) or b"\x00" in data:
        raise BadInputError(
            "the passphrase is UTF-16, which would unlock no vault later", hint="save the file as UTF-8"
        )
    try:
        text = first_line(data).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInputError("the passphrase is not valid UTF-8", hint="save the file as UTF-8") from None
    if not text:
        raise BadInputError("the passphrase is empty", hint="choose a long one")
    return Secret(unicodedata.normalize("NFC", text))


def spellings(passphrase: Secret) -> tuple[Secret, ...]:
    """Return the forms of a passphrase to try, the one that new vaults are made with first."""
    exact = passphrase.reveal_bytes()
    try:
        stored = new_passphrase(exact)
    except BadInputError:
        return (passphrase,)
    line = first_line(exact)
    forms = dict.fromkeys((stored.reveal_bytes(), exact, line))
    return tuple(Secret(form) for form in forms if form)


def weakness(passphrase: Secret) -> str:
    """Return why a new passphrase is easy to guess, or an empty text. Only short ones are judged."""
    text = passphrase.reveal()
    if len(text) >= SHORT:
        return ""
    from zxcvbn import zxcvbn

    verdict = zxcvbn(text)
    if verdict["score"] >= _SAFE_SCORE:
        return ""
    return verdict["feedback"]["warning"].rstrip(".") or "It is short"
