"""``fortctl config``: the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.render import table
from fortctl.cli.result import Result
from fortctl.config.settings import SETTINGS, HomeSettings, Setting, find_setting, unknown_names
from fortctl.errors import ConfigError, UsageError

config = group("config", "Show and change the configuration.")


@config.command("path", help="Print the path of the configuration file.")
def path(context: CommandContext) -> Result:
    file = context.container.home.config
    return Result({"path": str(file), "exists": file.exists()}, text=str(file))


@config.command("show", help="Show the configuration file and all settings in force.")
def show(context: CommandContext) -> Result:
    loaded = context.container.config
    data = {
        "vault": {"slot": loaded.slot},
        "accounts": {
            account.name: {"exchange": account.exchange, "robot": account.robot, **_as_json(account.other)}
            for account in loaded.accounts.values()
        },
        **({"mailbox": {"url": loaded.mailbox}} if loaded.mailbox else {}),
        **{name: _as_json(value) for name, value in loaded.other.items()},
    }
    preferences = context.container.settings
    rows = []
    for setting in SETTINGS.values():
        try:
            rows.append(_row(setting, preferences))
        except ConfigError as error:
            # An invalid setting is shown as it stands, so that it can be corrected.
            context.warn(error.code, error.message)
            rows.append({**_row(setting, HomeSettings()), "value": _as_json(preferences.raw(setting)), "set": True})
    for name in unknown_names(loaded.other):
        context.warn(
            "SETTING_UNKNOWN",
            f"{name} in {context.container.home.config} is not a setting of this version, and is kept",
        )

    def text() -> str:
        cells = [[row["name"], _plain(row["value"]), "set" if row["set"] else "default", row["help"]] for row in rows]
        return table(["setting", "value", "", "meaning"], cells)

    return Result({"path": str(context.container.home.config), "config": data, "settings": rows}, text=text)


@config.command("get", help="Show a setting: its value, default and type.")
@click.argument("name")
def get(context: CommandContext, name: str) -> Result:
    row = _row(find_setting(name), context.container.settings)
    return Result(row, text=_plain(row["value"]))


@config.command("set", help="Change a setting. Separate a list by spaces; put '--' before values that begin with '-'.")
@click.argument("name")
@click.argument("words", metavar="VALUE…", nargs=-1)
@click.option("--default", "reset", is_flag=True, help="Restore the default.")
@click.option("--this-account", is_flag=True, help="Change it only for the account of --account.")
def set_(context: CommandContext, name: str, words: tuple[str, ...], reset: bool, this_account: bool) -> Result:
    from fortctl.config.file import save_config

    setting = find_setting(name)
    if reset == bool(words):
        raise UsageError("give a value, or --default")
    raw = None if reset else setting.kind.write(setting.parse_words(words))
    if this_account:
        context.container.require_account()
    account = context.container.account if this_account else None
    before = context.container.config
    after = before.with_setting(setting, raw, account)
    changed = after != before
    if changed:
        save_config(context.container.home, after)
        context.container.config = after
        context.container.audit.append(
            "setting changed", account=account or "", result="done", best_effort=True, setting=name, value=_plain(raw)
        )
    reloaded = context.container.reload_robots() if changed else []
    row = {**_row(setting, context.container.settings), "robots": reloaded}
    return Result(row, changed, text=f"{name} is {_plain(row['value'])}")


def _row(setting: Setting[Any], preferences: HomeSettings) -> dict[str, Any]:
    return {
        "name": setting.name,
        "value": setting.kind.write(preferences.get(setting)),
        "default": setting.kind.write(setting.default),
        "set": preferences.raw(setting) is not None,
        "type": setting.kind.name,
        "help": setting.help,
    }


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return " ".join(value) or "off"
    return str(value)


def _as_json(value: Any) -> Any:
    """Return a TOML value as JSON; dates, times and floats (TOML knows infinities, JSON does not) as text."""
    if isinstance(value, Mapping):
        return {name: _as_json(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    return value if isinstance(value, str | bool | int) else str(value)
