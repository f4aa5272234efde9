"""``fortctl doctor``: check everything, change nothing."""

from __future__ import annotations

import click

from fortctl.cli.commands import command
from fortctl.cli.context import CommandContext
from fortctl.cli.render import paint
from fortctl.cli.result import Result
from fortctl.errors import error_classes


@command("doctor", help="Check home, vault, clock, exchange, keys and robot; change nothing.")
@click.option(
    "--fail-on", type=click.Choice(["warn", "fail"]), help="Exit with the code of the gravest finding of this level."
)
async def doctor(context: CommandContext, fail_on: str | None) -> Result:
    from fortctl.bootstrap.doctor import doctor_ports
    from fortctl.services.doctor import Doctor

    context.container.require_account()
    findings = await Doctor(doctor_ports(context.container)).examine()
    data = {"checks": [finding.as_json() for finding in findings]}
    colour = {"ok": "green", "warn": "yellow", "fail": "red"}
    lines = []
    for finding in findings:
        lines.append(f"{paint(finding.state.ljust(4), colour[finding.state])}  {finding.name}: {finding.reason}")
        if finding.remedy:
            lines.append(f"      {finding.remedy}")
    text = "\n".join(lines)
    grave = [
        finding
        for state in ("fail", "warn")
        for finding in findings
        if finding.state == state and (fail_on == "warn" or (fail_on == "fail" and state == "fail"))
    ]
    if grave:
        worst = grave[0]
        cls = error_classes()[worst.code or "INTERNAL"]
        raise cls(f"{worst.name}: {worst.reason}", hint=worst.remedy or None, data=data, text=text)
    return Result(data, text=text)
