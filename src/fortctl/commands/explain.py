"""``fortctl explain``: what a Binance or fortctl code means and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import click

from fortctl.cli.commands import CliCommand, command
from fortctl.cli.context import CommandContext
from fortctl.cli.result import Result
from fortctl.errors import NotFoundError


class _TakesCodes(CliCommand):
    """Takes ``-2015`` as a code, not as options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        options, values = args[:end], args[end + 1 :]
        codes = [word for word in options if re.fullmatch(r"-[0-9]+", word)]
        return super().parse_args(ctx, [*(word for word in options if word not in codes), "--", *codes, *values])


@command(
    "explain",
    cls=_TakesCodes,
    help="Explain a Binance code (-2015) or fortctl code (KEY_POLICY); 'panic': what to do after a panic.",
)
@click.argument("code")
def explain(context: CommandContext, code: str) -> Result:
    if code.strip().lower() == "panic":
        return _emergency()
    from fortctl.services.explain import explain_code

    answer = explain_code(code)
    remedy = f"\nremedy: {answer.remedy}" if answer.remedy is not None else ""
    return Result(answer.as_json(), text=f"{answer.code}: {answer.meaning}{remedy}")


def _emergency() -> Result:
    """Return the emergency page, which comes with the package."""
    import fortctl

    package = Path(fortctl.__file__).parent
    # In a checkout the page is among the documents.
    places = (package / "emergency.md", package.parents[1] / "docs" / "emergency.md")
    text = next((place.read_text(encoding="utf-8") for place in places if place.is_file()), None)
    if text is None:
        raise NotFoundError(
            "the emergency page is missing from this installation", hint="'fortctl panic-disconnect --yes'"
        )
    return Result({"code": "panic", "page": text}, text=text.rstrip())
