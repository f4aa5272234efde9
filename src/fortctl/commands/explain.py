"""``fortctl explain``: what a Binance or fortctl code means and what to do."""

from __future__ import annotations

import click

from fortctl.commands.context import App, Result, command


@command(
    "explain",
    help="What a Binance code (-2015) or a fortctl code (KEY_POLICY) means, and what to do.",
    context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]},
)
@click.argument("code")
def explain(app: App, code: str) -> Result:
    from fortctl.services.explain import explain as look_up

    found = look_up(code)
    return Result(found, text=f"{found['code']}: {found['meaning']}\nremedy: {found['remedy']}")
