"""Stores of a home that hold no secrets: the audit log, long operations, request weight (adapters).

- :mod:`.sqlite` opens every SQLite store of fortctl in the same way: write-ahead log, durable commits, deleted content
  overwritten, schema migrated. It turns SQLite's errors into errors with a remedy.
- :mod:`.audit_log` is an append-only file in which each entry contains the hash of the one before. Entries that are
  written with the vault unlocked are sealed under a key of the vault.
- :mod:`.operations` is the journal of rotations, and the lock of the process that works on one.
- :mod:`.request_weight` lets all processes of a home count Binance's request weight together.

The robot's journal is in :mod:`fortctl.robot.storage`, the command queue in :mod:`fortctl.mailbox`.
"""
