"""``fortctl explain``: what a Binance or fortctl code means and what to do."""

from __future__ import annotations

import re

import click

from fortctl.commands.context import App, Command, Result, command


class _TakesCodes(Command):
    """Takes ``-2015`` as a code, not as options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        codes = [word for word in args if re.fullmatch(r"-[0-9]+", word)]
        rest = [word for word in args if word not in codes]
        return super().parse_args(ctx, [*rest, "--", *codes] if codes else rest)


@command(
    "explain", cls=_TakesCodes, help="What a Binance code (-2015) or a fortctl code (KEY_POLICY) means, and what to do."
)
@click.argument("code")
def explain(app: App, code: str) -> Result:
    from fortctl.services.explain import explain as look_up

    found = look_up(code)
    return Result(found, text=f"{found['code']}: {found['meaning']}\nremedy: {found['remedy']}")
