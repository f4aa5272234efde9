"""The names of the core commands: all that ``--help`` and completion need, importing nothing."""

from __future__ import annotations

# name → (module, attribute, one line of help)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("fortctl.commands.init", "init", "Make the home, the vault and the first account."),
    "accounts": ("fortctl.commands.accounts", "accounts", "More accounts in one home."),
    "keys": ("fortctl.commands.keys", "keys", "The two keys of an account."),
    "issuer": ("fortctl.commands.issuer", "issuer", "Who makes and deletes keys at the exchange."),
    "robot": ("fortctl.commands.robot", "robot", "The trading robot."),
    "panic-disconnect": ("fortctl.commands.panic", "panic_disconnect", "Cut every link between account and robot."),
    "panic": ("fortctl.commands.panic", "panic_disconnect", "The same as panic-disconnect."),
    "panic-clear": ("fortctl.commands.panic", "panic_clear", "Lift the latch after a panic."),
    "account": ("fortctl.commands.account", "account", "Balances, orders and trades."),
    "doctor": ("fortctl.commands.doctor", "doctor", "Check everything, change nothing."),
    "vault": ("fortctl.commands.vault", "vault", "What unlocks the vault, and its backups."),
    "audit": ("fortctl.commands.audit", "audit", "The record of every operation."),
    "paper": ("fortctl.commands.paper", "paper", "The local paper exchange."),
    "plugins": ("fortctl.commands.plugins", "plugins", "What is loaded, and what failed."),
    "config": ("fortctl.commands.config", "config", "The configuration."),
    "explain": ("fortctl.commands.explain", "explain", "What a code means and what to do."),
    "demo": ("fortctl.commands.demo", "demo", "The whole story on the paper exchange."),
}

# A second name → the command's own name, which results and the audit log show.
ALIASES = {"panic": "panic-disconnect"}


def complete(words: list[str], cword: int) -> list[str] | None:
    """Return the command names that complete the first word, or None when click must answer (options, plugins)."""
    if cword != 1 or (len(words) > 1 and words[1].startswith("-")):
        return None
    prefix = words[1] if len(words) > 1 else ""
    return [name for name in COMMANDS if name.startswith(prefix)] or None
