"""The systemd unit of one account's robot, as text. Pure. Source: systemd.unit(5), systemd.service(5), systemd.exec(5).

Exit codes that a restart cannot fix (a wrong configuration, a vault that does not open or is damaged, no such account,
a latch or another owner) end the service; everything else is tried again with growing pauses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fortctl.errors import ConfigError, ConflictError, FortctlError, NotFoundError, VaultDamagedError, VaultLockedError

_FINAL: tuple[type[FortctlError], ...] = (
    ConfigError,
    VaultLockedError,
    VaultDamagedError,
    NotFoundError,
    ConflictError,
)
NO_RESTART = tuple(error.exit_code for error in _FINAL)
# RestartSteps= and RestartMaxDelaySec= (growing pauses) came with this version.
STEPS_SINCE = 254
WATCHDOG_S, STOP_WITHIN_S = 60, 60
CREDENTIAL = "fortctl-robot-passphrase"


@dataclass(frozen=True)
class UnitFacts:
    """What a unit is about.

    Attributes:
        account: as the file's reader shall see it (``%i`` in a template).
        command: the program and its arguments, without ``robot run``.
        writable: the folders that the robot writes to.
        user: who runs it; None for a unit of the user's own service manager.
        credential: the passphrase file of the robot's vault, or None; encrypted if it ends in ``.cred``.
        systemd: the service manager's version.
        in_homes: the home or the program lies below ``/home``, ``/root`` or ``/run/user``.
        in_tmp: the home lies in a folder that a private ``/tmp`` would hide.
    """

    account: str
    command: Sequence[str]
    writable: Sequence[str]
    user: str | None = None
    credential: str | None = None
    systemd: int = STEPS_SINCE
    in_homes: bool = False
    in_tmp: bool = False


def unit_text(facts: UnitFacts) -> str:
    """Return the unit file."""
    sections = {
        "Unit": [
            f"Description=fortctl robot of account {_plain(facts.account)}",
            *(["Wants=network-online.target", "After=network-online.target time-sync.target"] if facts.user else []),
            # It is tried for ever; the pauses below keep that harmless.
            "StartLimitIntervalSec=0",
        ],
        "Service": [*_service(facts), *_hardening(facts)],
        "Install": [f"WantedBy={'multi-user.target' if facts.user else 'default.target'}"],
    }
    return "\n".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items())


def _service(facts: UnitFacts) -> list[str]:
    lines = [
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={' '.join(_word(part) for part in (*facts.command, 'robot', 'run'))}",
        "ExecReload=kill -HUP $MAINPID",
        f"WatchdogSec={WATCHDOG_S}",
        f"TimeoutStopSec={STOP_WITHIN_S}",
        "Restart=on-failure",
        "RestartSec=2",
        *(["RestartSteps=8", "RestartMaxDelaySec=5min"] if facts.systemd >= STEPS_SINCE else []),
        f"RestartPreventExitStatus={' '.join(map(str, NO_RESTART))}",
    ]
    if facts.user:
        lines.append(f"User={_plain(facts.user)}")
    if facts.credential:
        kind = "LoadCredentialEncrypted" if facts.credential.endswith(".cred") else "LoadCredential"
        lines.append(f"{kind}={CREDENTIAL}:{_plain(facts.credential)}")
    return lines


def _hardening(facts: UnitFacts) -> list[str]:
    """What a user's own service manager cannot grant without namespaces is left to the system's."""
    lines = [
        "UMask=0077",
        "LimitCORE=0",
        "NoNewPrivileges=yes",
        "LockPersonality=yes",
        "MemoryDenyWriteExecute=yes",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallErrorNumber=EPERM",
    ]
    if not facts.user:
        return lines
    return [
        *lines,
        "LimitMEMLOCK=infinity",
        "CapabilityBoundingSet=",
        "PrivateDevices=yes",
        *([] if facts.in_tmp else ["PrivateTmp=yes"]),
        "ProtectClock=yes",
        "ProtectControlGroups=yes",
        f"ProtectHome={'read-only' if facts.in_homes else 'yes'}",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "ProtectProc=invisible",
        "ProtectSystem=strict",
        "RemoveIPC=yes",
        f"ReadWritePaths={' '.join(map(_word, facts.writable))}",
    ]


def _plain(text: str) -> str:
    """Escape a value that is taken as it stands, specifiers excepted (``%i`` itself stays)."""
    return text if text == "%i" else _printable(text).replace("%", "%%")


def _word(text: str) -> str:
    """Quote one word of a command line or of a list of paths (systemd.syntax(7), "Quoting")."""
    if text == "%i":
        return text
    escaped = _printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if escaped and not set(escaped) & set(" ';\"\\") else f'"{escaped}"'


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ConfigError("a service's path or name holds a control character", hint="choose another --home")
    return text
