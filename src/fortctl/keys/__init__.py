"""API keys: rules for their permissions, verification at the exchange, generation (mostly pure).

- :mod:`.policy` says which permissions each role requires, and compares a key's permissions with them.
- :mod:`.verification` queries the exchange about a key: :func:`.verification.verify_key` returns a
  :class:`fortctl.model.KeyVerdict`, and :func:`.verification.check_deleted` says whether a deleted key is really gone.
- :mod:`.rejection` finds the cause of a rejection, which Binance's answer leaves open, and how certain it is.
- :mod:`.generation` makes Ed25519 and RSA pairs; only their public half leaves fortctl.
- :mod:`.fingerprint` names a key without revealing it; :mod:`.serialization` writes cards and verdicts as JSON.

"The key is bad" and "nothing could be learnt about the key" are always separate: the first is a verdict, the second an
exception.
"""
