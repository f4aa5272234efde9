"""The core commands by name: all that ``--help`` and completion need, without importing a command."""

from __future__ import annotations

# name → (module, attribute, one line of help)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("fortctl.commands.init", "init", "Create the home, the vault and the first account."),
    "accounts": ("fortctl.commands.accounts", "accounts", "Manage the accounts of this home."),
    "keys": ("fortctl.commands.keys", "keys", "Manage the two keys of an account."),
    "issuer": ("fortctl.commands.issuer", "issuer", "Set who creates and deletes keys at the exchange."),
    "robot": ("fortctl.commands.robot", "robot", "Run, steer and watch the trading robot."),
    "panic-disconnect": (
        "fortctl.commands.panic",
        "panic_disconnect",
        "Stop the robot and destroy its keys, in an emergency.",
    ),
    "panic": ("fortctl.commands.panic", "panic_disconnect", "The same as panic-disconnect."),
    "panic-clear": ("fortctl.commands.panic", "panic_clear", "Lift the latch after a panic."),
    "account": ("fortctl.commands.account", "account", "Show balances, orders and trades."),
    "doctor": ("fortctl.commands.doctor", "doctor", "Check everything, change nothing."),
    "vault": ("fortctl.commands.vault", "vault", "Manage what unlocks the vaults, and back them up."),
    "audit": ("fortctl.commands.audit", "audit", "Show and verify the audit log."),
    "paper": ("fortctl.commands.paper", "paper", "Run and control the local paper exchange."),
    "plugins": ("fortctl.commands.plugins", "plugins", "List the plugins."),
    "config": ("fortctl.commands.config", "config", "Show and change the configuration."),
    "explain": ("fortctl.commands.explain", "explain", "Explain an error code, and what to do."),
    "demo": ("fortctl.commands.demo", "demo", "Demonstrate everything on the paper exchange."),
}

# A second name → the command's own name, which results and the audit log show.
ALIASES = {"panic": "panic-disconnect"}


def complete(words: list[str], cword: int) -> list[str] | None:
    """Return the command names that complete the first word, or None when click must answer (options, plugins)."""
    if cword != 1 or (len(words) > 1 and words[1].startswith("-")):
        return None
    prefix = words[1] if len(words) > 1 else ""
    return [name for name in COMMANDS if name.startswith(prefix)] or None
