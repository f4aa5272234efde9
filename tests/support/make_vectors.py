"""Makes the frozen vaults and messages under ``tests/vectors``; it never overwrites one (a release freezes them).

``python tests/support/make_vectors.py`` writes what is missing. Passphrases and keys here are for tests alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fortctl.canonical_json import canonical_json
from fortctl.mailbox.crypto import Identity, RecipientKey
from fortctl.mailbox.messages import Command, seal_command
from fortctl.ports import NewRecord
from fortctl.secret import Secret
from fortctl.vault import erasure
from fortctl.vault.file import VaultFile
from fortctl.vault.slots import FLOOR, KeyFile, Passphrase

VECTORS = Path(__file__).parent.parent / "vectors"
PASSPHRASE, KEYFILE = "test passphrase, not a secret", bytes(range(32))
NOW = 1_700_000_000_000


def put(folder: str, name: str, body: dict[str, Any]) -> None:
    path = VECTORS / folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(json.dumps(body, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def rehashed(text: str) -> str:
    head = text[: text.rindex('sha256 = "')]
    return head + f'sha256 = "{hashlib.sha256(head.encode()).hexdigest()}"\n'


def record(record_id: str, text: str, **more: Any) -> NewRecord:
    fields = {"account": "default", "exchange": "paper", "role": "site", "name": 'a "name"\n\\', "type": "hmac"}
    return NewRecord(
        record_id=record_id, plaintext=Secret(text), created_at=NOW, **{**fields, "erasable": False, **more}
    )


def vaults() -> None:
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        home.chmod(0o700)
        (home / "vault.key").write_bytes(KEYFILE)
        (home / "vault.key").chmod(0o600)
        file = VaultFile(home / "vault.toml", home / "erasure")
        keyfile, passphrase = KeyFile(home / "vault.key"), Passphrase(Secret(PASSPHRASE))
        vault = file.create([keyfile])
        vault.update(
            [
                record("identity/operator", "i" * 32),
                record("key/default/site", "s" * 300, erasable=True, purpose="site"),
            ]
        )
        first = file.path.read_text()

        def good(name: str, source: str, records: dict[str, str | None], text: str | None = None) -> None:
            keys = {one: erasure.read(home / "erasure", one) for one in erasure.names(home / "erasure")}
            body = {
                "source": source,
                "vault": text or file.path.read_text(),
                "erasure": {one: base64.b64encode(key or b"").decode() for one, key in keys.items()},
                "records": records,
            }
            put("vaults", f"good-{name}", body)

        both: dict[str, str | None] = {"identity/operator": "i" * 32, "key/default/site": "s" * 300}
        good("keyfile", "keyfile", both)
        vault.update([record("key/default/site", "t" * 10, erasable=True, purpose="site")])
        good("replaced", "keyfile", {**both, "key/default/site": "t" * 10})
        vault.add_slot(passphrase, FLOOR)
        good("two-slots-passphrase", "passphrase", {**both, "key/default/site": "t" * 10})
        put(
            "backups",
            "good-backup",
            {
                "source": "keyfile",
                "backup": vault.backup("x = 1\n", NOW).decode(),
                "records": {**both, "key/default/site": "t" * 10},
            },
        )
        two = file.path.read_text()
        vault.update([record("copy/default/robot", "c", erasable=True, purpose="copy")])
        erasure.destroy(home / "erasure", "default", ("copy",))
        good("destroyed", "keyfile", {**both, "key/default/site": "t" * 10, "copy/default/robot": None})
        vault.update(delete=["copy/default/robot"])
        good("deleted", "passphrase", {**both, "key/default/site": "t" * 10})

        def bad(name: str, error: str, text: str, source: str = "keyfile") -> None:
            put("vaults", f"bad-{name}", {"source": source, "vault": text, "erasure": {}, "error": error})

        lines = first.split("\n")

        def with_line(start: str, change: Callable[[str], str], text: str = first) -> str:
            out, done = [], False
            for line in text.split("\n"):
                hit = line.startswith(start) and not done
                out.append(change(line) if hit else line)
                done = done or hit
            assert done
            return "\n".join(out)

        def flip(line: str) -> str:
            at = line.index('"') + 1
            return line[:at] + ("A" if line[at] != "A" else "B") + line[at + 1 :]

        bad("flipped-without-hash", "VAULT_DAMAGED", with_line("vault_id", flip))
        for field in ("vault_id", "salt", "nonce", "wrapped"):
            bad(f"flipped-slot-{field}", "VAULT_LOCKED", rehashed(with_line(field, flip)))
        bad("flipped-data", "VAULT_DAMAGED", rehashed(with_line("data", flip)))
        bad("flipped-name", "VAULT_DAMAGED", rehashed(with_line("name", flip)))
        bad("flipped-tag", "VAULT_DAMAGED", rehashed(with_line("tag", flip)))
        bad("generation-set-back", "VAULT_DAMAGED", rehashed(with_line("generation", lambda _line: "generation = 1")))
        bad("other-format", "VAULT_DAMAGED", rehashed(with_line("format", lambda line: line.replace("/1", "/2"))))
        bad("cut", "VAULT_DAMAGED", first[: len(first) // 2])
        bad("empty", "VAULT_DAMAGED", "")
        bad("spaces-at-a-line's-end", "VAULT_DAMAGED", rehashed(with_line("generation", lambda line: line + " ")))
        bad("crlf", "VAULT_DAMAGED", rehashed(first.replace("\n", "\r\n").replace("\r\nsha256", "\nsha256")))
        bad("doubled-line", "VAULT_DAMAGED", rehashed(with_line("generation", lambda line: line + "\n" + line)))
        bad("comment", "VAULT_DAMAGED", rehashed("# a comment\n" + first))
        cut_at, next_at = lines.index("[[record]]"), lines.index("[[record]]", lines.index("[[record]]") + 1)
        bad("record-cut-out", "VAULT_DAMAGED", rehashed("\n".join(lines[:cut_at] + lines[next_at:])))
        end = lines.index("[seal]")
        swapped = lines[:cut_at] + lines[next_at:end] + lines[cut_at:next_at] + lines[end:]
        bad("records-reordered", "VAULT_DAMAGED", rehashed("\n".join(swapped)))
        bad(
            "older-record-in-a-later-vault",
            "VAULT_DAMAGED",
            rehashed("\n".join(two.split("\n")[: two.split("\n").index("[[record]]")] + lines[cut_at:])),
        )
        bad("wrong-passphrase", "VAULT_LOCKED", two, "wrong passphrase")
        bad("no-such-slot", "VAULT_LOCKED", first, "passphrase")
        for name, start, value in (
            ("cost-below-the-floor", "memory_kib = 65536", "memory_kib = 65535"),
            ("cost-above-the-ceiling", "memory_kib = 65536", "memory_kib = 1048577"),
            ("passes-below-the-floor", "iterations = 3", "iterations = 2"),
            ("passes-above-the-ceiling", "iterations = 3", "iterations = 33"),
            ("lanes-above-the-ceiling", "lanes = 4", "lanes = 17"),
        ):
            bad(name, "VAULT_DAMAGED", rehashed(with_line(start, lambda _line, value=value: value, two)), "passphrase")  # type: ignore[misc]


def messages() -> None:
    operator, stranger, robot = (Identity(bytes([number]) * 32) for number in (1, 2, 3))
    recipient, other = RecipientKey(bytes([4]) * 96), RecipientKey(bytes([5]) * 96)
    args = {"name": "robot-1", "type": "hmac", "api_key": "A" * 64, "secret": "B" * 64, "note": "ünïcödé"}
    command = Command(
        "default",
        robot.id,
        operator.id,
        7,
        "deliver-key",
        recipient.key_id,
        3,
        NOW,
        NOW + 900_000,
        Secret(canonical_json(args)),
    )
    known = {
        "account": "default",
        "robot_id": robot.id,
        "operators": {operator.id: base64.b64encode(operator.public_bytes()).decode()},
        "recipient_private": base64.b64encode(bytes([4]) * 96).decode(),
        "now_ms": NOW + 1000,
        "last_number": 6,
    }

    def message(name: str, made: Command, expect: str | None = None, **changes: Any) -> None:
        signer, public = changes.pop("signer", operator), changes.pop("public", recipient.public_bytes())
        row = seal_command(made, signer, public)
        body = {
            "account": changes.pop("row_account", row.account),
            "number": changes.pop("row_number", row.number),
            "envelope": base64.b64encode(changes.pop("envelope", row.envelope)).decode(),
            "sealed": base64.b64encode(changes.pop("sealed", lambda data: data)(row.sealed)).decode(),
            "signature": base64.b64encode(row.signature).decode(),
        }
        outcome = {"error": expect} if expect else {"args": json.loads(made.arguments.reveal_bytes())}
        put(
            "messages", f"{'bad' if expect else 'good'}-{name}", {"row": body, "robot": {**known, **changes}, **outcome}
        )

    message("delivery", command)
    message("without-end", replace(command, valid_until=None, number=8), now_ms=NOW + 10**12)
    for kind in ("start", "drain", "stop", "forget-key", "verify-key", "configure", "generate-key", "pair-operator"):
        message(kind, replace(command, kind=kind, arguments=Secret(canonical_json({"site": [4, 12, "ab" * 32]}))))
    message("stranger", replace(command, operator_id=stranger.id), "unpaired", signer=stranger)
    message("signed-by-a-stranger", command, "bad_signature", signer=stranger)
    message("other-account", replace(command, account="other"), "other_account")
    message("moved-to-another-account", command, "other_account", row_account="other")
    message("other-robot", replace(command, robot_id="0" * 16), "other_robot")
    message("replayed", command, "replayed", last_number=7)
    message("moved-to-another-number", command, "replayed", row_number=9)
    message("expired", command, "expired", now_ms=NOW + 900_001)
    message("not-yet", command, "not_yet", now_ms=NOW - 60_001)
    message(
        "sealed-to-a-key-that-is-gone",
        replace(command, recipient_id=other.key_id),
        "reseal",
        public=other.public_bytes(),
    )
    message("sealed-to-another-key", command, "malformed", public=other.public_bytes())
    message("sealed-changed", command, "malformed", sealed=lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    message("sealed-cut", command, "malformed", sealed=lambda data: data[:-16])
    facts = json.loads(seal_command(command, operator, recipient.public_bytes()).envelope)
    message("not-canonical", command, "malformed", envelope=json.dumps(facts).encode())
    message("a-field-more", command, "malformed", envelope=canonical_json({**facts, "x": 1}))
    message(
        "a-field-less",
        command,
        "malformed",
        envelope=canonical_json({name: facts[name] for name in facts if name != "v"}),
    )
    message("a-number-as-text", command, "malformed", envelope=canonical_json({**facts, "number": "7"}))
    message("a-later-version", command, "malformed", envelope=canonical_json({**facts, "v": 2}))
    message("no-json", command, "malformed", envelope=b"\xff{")


if __name__ == "__main__":
    vaults()
    messages()
