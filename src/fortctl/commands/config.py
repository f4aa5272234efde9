"""``fortctl config``: the configuration file."""

from __future__ import annotations

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
        **loaded.other,
    }
    return Result({"path": str(app.wiring.home.config), "config": data})
