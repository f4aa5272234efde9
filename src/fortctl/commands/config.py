"""``fortctl config``: the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fortctl.commands.context import App, Result, group

config = group("config", "The configuration.")


@config.command("path", help="Where the configuration lies.")
def path(app: App) -> Result:
    found = app.wiring.home.config
    return Result({"path": str(found), "exists": found.exists()}, text=str(found))


@config.command("show", help="The configuration as it is read.")
def show(app: App) -> Result:
    loaded = app.wiring.config
    data = {
        "vault": {"slot": loaded.slot},
        "accounts": {
            account.name: {"exchange": account.exchange, "robot": account.robot} for account in loaded.accounts.values()
        },
        **({"mailbox": {"url": loaded.mailbox}} if loaded.mailbox else {}),
        **{name: _as_json(value) for name, value in loaded.other.items()},
    }
    return Result({"path": str(app.wiring.home.config), "config": data})


def _as_json(value: Any) -> Any:
    """Return a TOML value as JSON; dates, times and floats (TOML knows infinities, JSON does not) as text."""
    if isinstance(value, Mapping):
        return {name: _as_json(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_as_json(one) for one in value]
    return value if isinstance(value, str | bool | int) else str(value)
