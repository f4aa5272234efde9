"""The two keys of an account: site (reads) and robot (reads and trades).

:class:`~fortctl.services.keys.service.KeyService` adds, lists, verifies, changes and deletes them. The ideas:

- **Each key is verified where it will be used.** The site key is verified in this process and stored in the site's
  vault. A robot key may be accepted from the robot's host alone, so it is sealed to the robot, which verifies and
  stores it; this process waits for the signed receipt.
- **Nothing replaces a working key before the new one is accepted**, unless the operator asks for that.
- **A panic wins.** The latch is checked before a key is written and again after it: a key that was being written when
  a panic came is destroyed by the process that wrote it.
- **A key is named, never shown**: by name, fingerprint (a keyed hash) and tail (last four characters). Secrets are
  ``Secret`` values from the prompt on; docs/key-path.md follows one to its first signature.

``input`` checks what an operator enters; ``results`` is what adding a key led to, and the errors of verification;
``issuer`` creates and deletes keys at the exchange through a master account's key, which has a vault of its own.
"""
