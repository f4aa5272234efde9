"""The encrypted vault of a home: its file format, its cryptography, its backups (docs/vault-format.md).

A vault is one text file of encrypted records. A random *data-encryption key* (DEK) encrypts them; each *slot* has
the DEK encrypted for one unlock source (a passphrase, a key file, the desktop's keyring).

The few ideas:

- **Destroying needs no unlocking.** An erasable record's key is derived from the DEK and an *erasure key* in a file of
  its own (:mod:`.erasure`). Overwriting that file destroys the record, even with a locked or damaged vault.
- **Everything visible is authenticated.** A record's account, role and version are its associated data, and an HMAC
  covers the whole file, so records cannot be changed, swapped or removed unnoticed.
- **Every change is one atomic write** with a higher generation (:mod:`.file`); an older generation is refused.
- **One accepted form.** :mod:`.format` reads only the exact bytes that it would write.

How it is used: :class:`.location.VaultLocation` reads what is visible without unlocking; :class:`.file.VaultFile`
creates and unlocks; :class:`.file.OpenVault` reads and changes records. :mod:`.envelope` has the cryptography,
:mod:`.slots` and :mod:`.keyring` the unlock sources, :mod:`.backup` the backup document.
"""
