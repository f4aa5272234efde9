"""The home folder, its configuration file and its settings.

- :mod:`.home`: a home is one folder (``--home``); the module names each file in it and checks owner and mode. Nothing
  else joins paths below the home.
- :mod:`.file`: ``config.toml`` as a frozen :class:`.file.Config`: the accounts, how vaults are unlocked, the mailbox. A
  change makes a new ``Config``, and :func:`.file.save_config` replaces the file.
- :mod:`.settings`: the table of known settings with types, defaults and bounds. :class:`.settings.HomeSettings` looks a
  setting up in the account's own table first, then in the home's, then takes the default.

Sections and keys that this version does not know are kept when the file is written. The configuration never contains a
secret.
"""
