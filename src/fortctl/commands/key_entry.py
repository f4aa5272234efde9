"""Enter a key: from ``--input``, or at hidden prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fortctl.errors import BadInputError
from fortctl.model import KeyPair, KeyType, Role

if TYPE_CHECKING:
    from fortctl.cli.context import CommandContext
    from fortctl.secret import Secret


@dataclass(frozen=True)
class KeyInput:
    """The options of ``keys add`` and ``keys change``.

    Attributes:
        role: the role that the key is for.
        name: the key's name in the Binance account; None takes the one in the input.
        key_type: the declared type; it must agree with the input.
        source: the value of ``--input``; None prompts.
        passphrase_file: holds the passphrase of an encrypted private key.
        pending: only the API key of the pair that ``keys generate`` made is entered.
        allow: permissions to accept although the role does not need them.
        wait_s: how long to wait for the robot's answer.
        site_copy: keep a copy of a robot key for reading where there is no site key.
    """

    role: Role
    name: str | None = None
    key_type: KeyType | None = None
    source: str | None = None
    passphrase_file: str | None = None
    pending: bool = False
    allow: tuple[str, ...] = ()
    wait_s: float = 30.0
    site_copy: bool = True

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> KeyInput:
        """Return the input that click's values describe.

        Raises:
            BadInputError: ``--pending`` is combined with options of the private half.
        """
        key_type = KeyType(options["key_type"]) if options["key_type"] else None
        if options["pending"] and (key_type is not None or options["key_passphrase_file"] is not None):
            raise BadInputError(
                "--pending takes the API key alone: the private half is stored already, with its type",
                hint="omit --type and --key-passphrase-file",
            )
        return cls(
            role=Role(options["role"]),
            name=options["name"],
            key_type=key_type,
            source=options["source"],
            passphrase_file=options["key_passphrase_file"],
            pending=options["pending"],
            allow=options["allow"],
            wait_s=0.0 if options["no_wait"] else options["wait"],
            site_copy=not options["no_site_copy"],
        )


def read_key(context: CommandContext, key: KeyInput, default_name: str) -> KeyPair:
    """Read a key pair from ``--input`` or hidden prompts. Raises ``BadInputError``, ``ConfirmationNeededError``."""
    from fortctl.services.keys.input import EnteredKey, check_key, parse_input

    if key.source is not None:
        entered = parse_input(context.prompts.read_input(key.source))
    else:
        api_key = context.prompts.read_hidden("API key")
        if key.key_type in (KeyType.ED25519, KeyType.RSA):
            raise BadInputError("a private key must be given in a file", hint="give --input FILE")
        entered = EnteredKey(api_key=api_key, secret_key=context.prompts.read_hidden("secret key"))
    return check_key(
        entered,
        name=key.name,
        key_type=key.key_type,
        default_name=default_name,
        passphrase=lambda: private_key_passphrase(context, key.passphrase_file),
    )


def read_api_key(context: CommandContext, key: KeyInput, default_name: str) -> tuple[Secret, str]:
    """Read the API key of a pending pair and the key's name. Raises as :func:`read_key` does."""
    from fortctl.services.keys.input import EnteredKey, check_api_key, parse_input

    if key.source is not None:
        entered = parse_input(context.prompts.read_input(key.source))
    else:
        entered = EnteredKey(api_key=context.prompts.read_hidden("API key"))
    return check_api_key(entered, name=key.name, default_name=default_name)


def private_key_passphrase(context: CommandContext, passphrase_file: str | None) -> Secret:
    """Return the passphrase of an encrypted private key, from a file or a hidden prompt."""
    if passphrase_file is not None:
        return context.container.unlock_sources.read_passphrase(passphrase_file)
    return context.prompts.read_hidden("passphrase of the private key")
