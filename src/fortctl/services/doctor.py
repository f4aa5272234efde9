"""Check everything, change nothing: each finding has a reason and a remedy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fortctl.errors import (
    ClockSkewError,
    ConflictError,
    FortctlError,
    JournalUnwritableError,
    NotFoundError,
    error_classes,
)
from fortctl.keys.drift import moving_funds
from fortctl.keys.policy import permission_hint, rejection_error, remedy_for
from fortctl.model import Drift, KeyPair, KeyVerdict, Role
from fortctl.ports import Clock, Exchange, ExchangeError
from fortctl.services.exchange_errors import to_command_error
from fortctl.services.keys.listing import card_warnings
from fortctl.services.robot.status import RobotReport, RobotStatusReader
from fortctl.services.site_vault import SiteVault
from fortctl.timestamps import DAY_MS, parse_rfc3339

# Binance refuses a timestamp 1 s ahead of its clock and, at our recvWindow, one 5 s behind (rest-api.md).
SKEW_WARN_MS = 500
SKEW_FAIL_MS = 1000
STALE_COMMAND_MS = 60_000
# A symbol that is traded little may rest for minutes; a recording that is over rests for ever.
STILL_S = 300.0
MIB = 1024 * 1024
# Below this a robot sends nothing, because its journal soon cannot be written (robot.md, "Behaviour").
DISK_FAIL_MIB = 16
DISK_WARN_MIB = 256
# Why a key is refused that a person can undo on Binance's page; the robot asks again by itself, and continues.
CURABLE = frozenset(
    {"ip_not_listed", "right_missing", "refused", "expired", "trading_right_removed", "trading_disabled"}
)


@dataclass(frozen=True)
class Finding:
    """One check's outcome.

    Attributes:
        name: which check.
        state: ``ok``, ``warn`` or ``fail``.
        reason: what the check observed.
        remedy: what to do about it; empty if all is well.
        code: the stable error code that a command would meet, or empty.
    """

    name: str
    state: str
    reason: str
    remedy: str = ""
    code: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "reason": self.reason,
            "remedy": self.remedy,
            "code": self.code or None,
        }

    @property
    def exit_code(self) -> int:
        return error_classes()[self.code].exit_code if self.code else 0


@dataclass(frozen=True)
class Incident:
    """A crash of a robot, as its report describes it.

    Attributes:
        at: when (RFC 3339).
        where: where in the program.
        path: the report's file.
    """

    at: str
    where: str
    error: str
    path: str


@dataclass(frozen=True)
class DoctorPorts:
    """What the doctor checks; every callable may raise ``FortctlError``.

    Attributes:
        mode_problems: the files and folders that others may read, with what is wrong.
        vault_summary: reads the vault's header without unlocking; returns one line.
        warn_vault: a warning about how the vault is unlocked, as (code, reason, remedy), or None.
        site_vault: unlocks the site's vault without asking a person.
        connect: makes an exchange adapter.
        pending: ``(number, created_at)`` of the commands that the robot has not answered.
        journal: reads the robot's journal from end to end; returns one line.
        disk: where the robot's disk is mounted, and how many bytes are free on it.
        rotation: the step that an open rotation has reached, and which process works on it; None if none is open.
        audit_intact: checks the audit log; returns one line.
        panic_order: ``ready``, ``used`` or ``missing``; empty where the robot is on this host, or there is none.
        incidents: the crash reports of this account's robot, oldest first.
    """

    home: str
    account: str
    wants_robot: bool
    mode_problems: Callable[[], list[str]]
    vault_summary: Callable[[], str]
    warn_vault: Callable[[], tuple[str, str, str] | None]
    site_vault: Callable[[], SiteVault]
    connect: Callable[[KeyPair | None], Exchange]
    status_reader: RobotStatusReader
    pending: Callable[[], list[tuple[int, int]]]
    journal: Callable[[], str]
    disk: Callable[[], tuple[str, int]]
    rotation: Callable[[], str | None]
    audit_intact: Callable[[], str]
    panic_order: Callable[[], str]
    incidents: Callable[[], list[Incident]]
    clock: Clock


class Doctor:
    """Runs every check; a check that fails to run is itself a finding."""

    def __init__(self, ports: DoctorPorts) -> None:
        self._ports = ports

    async def examine(self) -> list[Finding]:
        checks: list[tuple[str, Callable[[], Awaitable[Finding]]]] = [
            ("home", self._home),
            ("file modes", self._modes),
            ("vault", self._vault),
            ("vault slots", self._slots),
            ("audit log", self._audit),
            ("exchange", self._exchange),
            ("clock", self._clock),
            ("site key", self._site_key),
            ("robot key", self._robot_key),
            ("robot", self._robot),
            ("foreign activity", self._foreign),
            ("journal", self._journal),
            ("disk", self._disk),
            ("pending commands", self._commands),
            ("rotation", self._rotation),
            ("panic order", self._panic_order),
            ("incidents", self._incidents),
        ]
        return [await self._contained(name, check) for name, check in checks]

    async def _contained(self, name: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
        try:
            return await check()
        except FortctlError as error:
            return Finding(name, "fail", error.message, error.hint, error.code)
        except ExchangeError as fault:
            problem = to_command_error(fault, "asking the exchange")
            return Finding(name, "fail", problem.message, problem.hint, problem.code)
        except OSError as broken:
            reason = f"{type(broken).__name__}: {broken.strerror}"
            return Finding(name, "fail", reason, "see the system's log", "INTERNAL")

    async def _home(self) -> Finding:
        return Finding("home", "ok", self._ports.home)

    async def _modes(self) -> Finding:
        problems = self._ports.mode_problems()
        if problems:
            return Finding("file modes", "fail", "; ".join(problems), "chmod -R go-rwx the home folder", "CONFIG")
        return Finding("file modes", "ok", "only this user can read the home")

    async def _vault(self) -> Finding:
        summary = self._ports.vault_summary()
        self._ports.site_vault().fingerprint_key()
        return Finding("vault", "ok", f"{summary}; it opens")

    async def _slots(self) -> Finding:
        warning = self._ports.warn_vault()
        if warning is None:
            return Finding("vault slots", "ok", "nothing beside the vault unlocks it")
        code, reason, remedy = warning
        return Finding("vault slots", "warn", f"{code}: {reason}", remedy)

    async def _audit(self) -> Finding:
        return Finding("audit log", "ok", self._ports.audit_intact())

    async def _exchange(self) -> Finding:
        exchange = self._ports.connect(None)
        started = self._ports.clock.monotonic()
        try:
            await exchange.server_time()
        finally:
            await exchange.close()
        elapsed = (self._ports.clock.monotonic() - started) * 1000
        return Finding("exchange", "ok", f"answers in {elapsed:.0f} ms")

    async def _clock(self) -> Finding:
        exchange = self._ports.connect(None)
        try:
            before = self._ports.clock.now_ms()
            theirs = await exchange.server_time()
            after = self._ports.clock.now_ms()
        finally:
            await exchange.close()
        skew = theirs - (before + after) // 2
        reason = f"this machine's clock is {abs(skew)} ms {'behind' if skew > 0 else 'ahead of'} the exchange's"
        if abs(skew) < SKEW_WARN_MS:
            return Finding("clock", "ok", reason)
        state = "fail" if abs(skew) >= SKEW_FAIL_MS else "warn"
        return Finding("clock", state, reason, ClockSkewError.default_hint, "CLOCK_SKEW")

    async def _site_key(self) -> Finding:
        from fortctl.keys.verification import verify_key

        vault = self._ports.site_vault()
        key = vault.site_key()
        if key is None:
            missing = NotFoundError("there is no site key", hint="'fortctl keys add --role site' adds one")
            return Finding("site key", "warn", missing.message, missing.hint, missing.code)
        exchange = self._ports.connect(key.pair)
        try:
            verdict = await verify_key(exchange, Role.SITE, allow=key.allow, pinned_uid=vault.uid())
        finally:
            await exchange.close()
        drift = key.with_verdict(verdict, self._ports.clock.now_ms()).drift
        return _drift_finding("site key", drift) or _key_finding("site key", Role.SITE, verdict)

    async def _robot_key(self) -> Finding:
        if not self._ports.wants_robot:
            return Finding("robot key", "ok", "this account is only watched")
        status = self._ports.status_reader.status()
        key = status.key
        if key is None:
            return Finding(
                "robot key", "warn", "the robot has no key", "'fortctl keys add --role robot' gives it one", "NOT_FOUND"
            )
        if key.status != "ok":
            return Finding(
                "robot key",
                "fail",
                f"the exchange refused the robot's key '{key.name}'",
                _lost_key_remedy(status),
                "KEY_REJECTED",
            )
        asked = f"its permissions were last read at {key.permissions_at or 'no known time'}"
        fine = Finding("robot key", "ok", f"'{key.name}' was accepted when the robot last asked; {asked}")
        warnings = card_warnings(status.document["key"])
        return _drift_finding("robot key", key.drift) or (_warned("robot key", warnings[0]) if warnings else fine)

    async def _robot(self) -> Finding:
        if not self._ports.wants_robot:
            return Finding("robot", "ok", "this account is only watched")
        status = self._ports.status_reader.status()
        state = status.state
        if state in ("key_lost", "held", "latched", "unreachable", "awaiting_key"):
            remedy = _lost_key_remedy(status) if state == "key_lost" else _ROBOT_REMEDY[state]
            if state == "held" and _cured_by_room(status):
                remedy = f"make room on the disk mounted at {self._ports.disk()[0]}; the robot continues by itself"
            code = "ROBOT_UNREACHABLE" if state == "unreachable" else ConflictError.code
            grave = "fail" if state in ("key_lost", "unreachable") else "warn"
            return Finding("robot", grave, f"{state}: {status.reason or 'see robot status'}", remedy, code)
        still_s = _market_still_s(status, self._ports.clock.now_ms())
        if still_s >= STILL_S:
            reason = f"{state}, but no trade of {status.symbol} arrived for {still_s / 60:.0f} min"
            remedy = "see on Binance's page whether the symbol is traded; a paper exchange may have come to its end"
            return Finding("robot", "warn", reason, remedy)
        running = f"pid {status.pid}" if status.pid else "no process"
        return Finding("robot", "ok", f"{state} ({running})")

    async def _foreign(self) -> Finding:
        if not self._ports.wants_robot:
            return Finding("foreign activity", "ok", "no robot watches this account")
        found = self._ports.status_reader.status().document.get("foreign_activity") or []
        recent = [one for one in found if self._ports.clock.now_ms() - parse_rfc3339(one["at"]) < DAY_MS]
        if not recent:
            return Finding("foreign activity", "ok", "the robot reported none in the last 24 hours")
        return Finding(
            "foreign activity",
            "warn",
            f"{len(recent)} in the last 24 hours, the last at {recent[-1]['at']}: {recent[-1]['detail']}",
            "if that was nobody of yours: 'fortctl panic-disconnect'; else name it in the setting account.expected",
        )

    async def _journal(self) -> Finding:
        return Finding("journal", "ok", self._ports.journal())

    async def _disk(self) -> Finding:
        mount, free = self._ports.disk()
        left = f"{free // MIB} MiB are free on the disk mounted at {mount}"
        if free < DISK_FAIL_MIB * MIB:
            remedy = f"make room on {mount}; a robot that holds with JOURNAL or DISK continues by itself"
            return Finding("disk", "fail", left, remedy, JournalUnwritableError.code)
        if free < DISK_WARN_MIB * MIB:
            return Finding("disk", "warn", left, f"make room on {mount}")
        return Finding("disk", "ok", left)

    async def _rotation(self) -> Finding:
        rotation = self._ports.rotation()
        if rotation is None:
            return Finding("rotation", "ok", "none is open")
        remedy = "'fortctl keys rotate --status' says what it waits for; '--resume' continues it, '--abort' ends it"
        return Finding("rotation", "warn", rotation, remedy, "ACTION_REQUIRED")

    async def _commands(self) -> Finding:
        now = self._ports.clock.now_ms()
        stale = [number for number, created in self._ports.pending() if now - created > STALE_COMMAND_MS]
        if stale:
            return Finding(
                "pending commands",
                "warn",
                f"the robot has not answered {len(stale)} command(s), the oldest is number {stale[0]}",
                "see 'fortctl robot status'; a command that is too old is refused, not applied late",
                "ROBOT_TIMEOUT",
            )
        return Finding("pending commands", "ok", "none is waiting")

    async def _panic_order(self) -> Finding:
        state = self._ports.panic_order()
        if state in ("", "ready"):
            reason = "one is ready for the robot's host" if state else "the robot is on this host: its latch stops it"
            return Finding("panic order", "ok", reason)
        code = f"PANIC_ORDER_{state.upper()}"
        remedy = "'fortctl robot stop' or any other command that speaks to the robot signs one"
        return Finding("panic order", "warn", f"{code}: panic has no unused order for the robot's host", remedy)

    async def _incidents(self) -> Finding:
        incidents = self._ports.incidents()
        if not incidents:
            return Finding("incidents", "ok", "no crash reports")
        last = incidents[-1]
        return Finding(
            "incidents",
            "warn",
            f"{len(incidents)} crash report(s), the last of {last.at} ({last.where}): {last.error}",
            f"read {last.path}, report it, and delete it once it is understood",
            "INTERNAL",
        )


_NEW_KEY = "create a new key at Binance, then 'fortctl keys change --role robot'"
_ROBOT_REMEDY = {
    "awaiting_key": "'fortctl keys add --role robot' gives it a key",
    "held": "see 'fortctl robot status', check the account, then 'fortctl robot resume'",
    "latched": "check the account, then 'fortctl panic-clear'",
    "unreachable": "see 'fortctl robot logs'; end the process if it hangs",
}


def _drift_finding(name: str, drift: tuple[Drift, ...]) -> Finding | None:
    """Return the finding for a key that may do other things than were accepted, or None."""
    if not drift:
        return None
    role = name.split()[0]
    return Finding(
        name,
        "fail" if moving_funds(drift, ()) else "warn",
        f"KEY_DRIFT: {'; '.join(one.detail for one in drift)}",
        f"if nobody of yours changed the key: 'fortctl panic-disconnect'; {_ACCEPT_DRIFT[role]}",
        "KEY_POLICY",
    )


_ACCEPT_DRIFT = {
    "site": "to accept it, enter the key again ('fortctl keys change --role site')",
    "robot": "'fortctl robot resume' accepts it",
}


def _lost_key_remedy(status: RobotReport) -> str:
    """Return what to do about a lost key: what its reason says; a key that can be cured is not replaced."""
    reason = status.lost_reason or ""
    if reason in CURABLE:
        return f"{remedy_for(reason)}; the robot asks again within 5 minutes and continues by itself"
    if not reason or reason == "unknown_key":
        return _NEW_KEY
    return f"{remedy_for(reason) or _NEW_KEY}; 'fortctl keys change --role robot' gives the robot another key"


def _market_still_s(status: RobotReport, now_ms: int) -> float:
    """Return for how long a robot that trades has received no trade of the market; 0 for any other robot."""
    if status.state not in ("running", "draining"):
        return 0.0
    if status.market_moved_ago_s is not None:
        return status.market_moved_ago_s
    return (now_ms - parse_rfc3339(status.since)) / 1000 if status.since else 0.0


def _cured_by_room(status: RobotReport) -> bool:
    """Return whether a robot holds for its disk alone."""
    return bool(status.hold_codes) and status.hold_codes <= {"JOURNAL", "DISK"}


def _warned(name: str, warning: tuple[str, str]) -> Finding:
    code, message = warning
    return Finding(name, "warn", f"{code}: {message}", "restrict the key to trusted IPs on Binance's page")


def _key_finding(name: str, role: Role, verdict: KeyVerdict) -> Finding:
    if not verdict.accepted:
        error = rejection_error(verdict, role)
        return Finding(name, "fail", error.message, error.hint, error.code)
    policy = verdict.policy
    if policy is not None and not policy.ok:
        wrong = ", ".join(
            [*(f"missing {right}" for right in policy.missing), *(f"too much: {x}" for x in policy.excess)]
        )
        return Finding(name, "fail", wrong, permission_hint(role, policy.missing, policy.excess), "KEY_POLICY")
    if policy is not None and policy.warnings:
        return _warned(name, policy.warnings[0])
    return Finding(name, "ok", "the exchange accepts it, and its permissions are those of the role")
