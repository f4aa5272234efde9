"""The operating system's keyring (Secret Service, macOS Keychain, Windows Credential Locker) as an unlock source."""

from __future__ import annotations

import base64
from typing import Any

from fortctl.errors import VaultLockedError

SERVICE = "fortctl"
_MISSING = "install 'fortctl[keyring]', or use another slot ('fortctl vault status' shows them)"
_LOCKED = "unlock the keyring in your desktop session, or use another slot"


class OsKeyring:
    """Keeps a slot's 32 bytes under the service name ``fortctl``; implements :class:`fortctl.vault.slots.KeyStore`."""

    def get(self, name: str) -> bytes:
        text = self._call("get_password", SERVICE, name)
        if text is None:
            raise VaultLockedError("the keyring of this user does not hold this vault's key", hint=_LOCKED)
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise VaultLockedError("the keyring's entry for this vault is not a key", hint=_LOCKED) from None

    def put(self, name: str, key: bytes) -> None:
        self._call("set_password", SERVICE, name, base64.b64encode(key).decode())
        if self.get(name) != key:
            raise VaultLockedError("the keyring did not keep the key", hint=_LOCKED)

    def drop(self, name: str) -> None:
        if self._call("get_password", SERVICE, name) is not None:
            self._call("delete_password", SERVICE, name)

    @staticmethod
    def _call(method: str, *args: str) -> Any:
        try:
            import keyring
            from keyring.backends import fail, null
        except ImportError:
            raise VaultLockedError(
                "the keyring cannot be used: the package 'keyring' is not installed", hint=_MISSING
            ) from None
        try:
            backend = keyring.get_keyring()
        except Exception as error:  # a back-end that PYTHON_KEYRING_BACKEND or keyringrc.cfg names and nobody installed
            raise VaultLockedError(
                f"the keyring that this session names cannot be loaded ({type(error).__name__})", hint=_MISSING
            ) from None
        # A chain would fall back to a weaker back-end; use the best one or none.
        backend = next(iter(getattr(backend, "backends", ())), backend)
        if isinstance(backend, fail.Keyring | null.Keyring) or "plaintext" in type(backend).__name__.lower():
            raise VaultLockedError("this session has no keyring that stores keys encrypted", hint=_LOCKED)
        try:
            return getattr(backend, method)(*args)
        except Exception as error:
            # Back-ends raise many exceptions (locked, prompt dismissed, no D-Bus); never fall back to a weaker one.
            raise VaultLockedError(f"the keyring refuses ({type(error).__name__})", hint=_LOCKED) from None
