"""The settings that ``config.toml`` may contain: names, types, units, defaults, bounds. Pure.

The file stores a setting under its dotted name (``[resume]`` ``max_gap = "6h"``), or for one account only under
``[accounts.NAME.settings]``. Values are checked when they are read, and written in canonical form. Unknown names are
kept in the file and have no effect. The configuration contains no secrets: a setting names the 0600 file that does.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Generic, TypeVar

from fortctl.errors import ConfigError, UsageError

T = TypeVar("T")

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
_UNITS = {"ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}
_SIZES = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_MAX_ARGUMENT_LENGTH, _MAX_ARGUMENTS = 4096, 64
OFF = "off"


def parse_duration(text: str) -> int:
    """Return a duration such as ``30s``, ``6h`` or ``90d`` in milliseconds. Raises ``ValueError``."""
    match = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h|d|w)", text)
    if match is None:
        raise ValueError("must be a number with ms, s, m, h, d or w, such as 6h")
    return int(match[1]) * _UNITS[match[2]]


def format_duration(milliseconds: int) -> str:
    """Return a duration in the largest unit that divides it; the inverse of :func:`parse_duration`."""
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % _UNITS[unit] == 0:
            return f"{milliseconds // _UNITS[unit]}{unit}"
    return f"{milliseconds}ms"


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A type of settings.

    Attributes:
        name: for help and tables.
        read: converts a raw value (from the file or the command line); raises ``ValueError``.
        write: converts a value to its canonical raw form.
        takes_several_words: several words on the command line form one value.
    """

    name: str
    read: Callable[[Any], T]
    write: Callable[[T], Any]
    takes_several_words: bool = False


def _duration(least: int, most: int) -> Kind[int]:
    def read(raw: Any) -> int:
        value = parse_duration(_text(raw))
        if not least <= value <= most:
            raise ValueError(f"must be between {format_duration(least)} and {format_duration(most)}")
        return value

    return Kind("duration", read, format_duration)


def _or_off(kind: Kind[T]) -> Kind[T | None]:
    def read(raw: Any) -> T | None:
        return None if raw in (OFF, False) else kind.read(raw)

    def write(value: T | None) -> Any:
        return OFF if value is None else kind.write(value)

    return Kind(f"{kind.name}, or off", read, write)


def _percent(most: int) -> Kind[Decimal]:
    def read(raw: Any) -> Decimal:
        if isinstance(raw, bool) or not isinstance(raw, str | int | float):
            raise ValueError("must be a percentage, such as 5 or 2.5")
        try:
            value = Decimal(str(raw).removesuffix("%"))
        except InvalidOperation:
            value = Decimal("NaN")
        if not (value.is_finite() and 0 < value <= most and value == round(value, 4)):
            raise ValueError(f"must be a percentage above 0 and at most {most}")
        return value

    return Kind("per cent", read, lambda value: f"{value.normalize():f}")


def _whole(least: int, most: int) -> Kind[int]:
    def read(raw: Any) -> int:
        text = str(raw)
        if isinstance(raw, bool | float) or not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return Kind("number", read, lambda value: value)


def _size(least: int, most: int) -> Kind[int]:
    def read(raw: Any) -> int:
        match = re.fullmatch(r"([0-9]{1,9}) ?(KiB|MiB|GiB|)", str(raw))
        value = int(match[1]) * _SIZES[match[2]] if match and not isinstance(raw, bool) else 0
        if not least <= value <= most:
            raise ValueError(f"must be a size from {_format_size(least)} to {_format_size(most)}, such as 8MiB")
        return value

    return Kind("size", read, _format_size)


def _format_size(value: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if value and value % _SIZES[unit] == 0:
            return f"{value // _SIZES[unit]}{unit}"
    return str(value)


def _choice(*names: str) -> Kind[str]:
    def read(raw: Any) -> str:
        if raw not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return str(raw)

    return Kind("|".join(names), read, lambda value: value)


@dataclass(frozen=True)
class Address:
    """A TCP address to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address() -> Kind[Address]:
    """HOST:PORT, or a port on this machine's loopback address."""

    def read(raw: Any) -> Address:
        match = re.fullmatch(r"(?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):)?([0-9]{1,5})", str(raw))
        if isinstance(raw, bool) or match is None or not 0 < int(match[2]) < 65536:
            raise ValueError("must be HOST:PORT, or PORT for this machine's loopback address")
        return Address((match[1] or "127.0.0.1").strip("[]"), int(match[2]))

    return Kind("address", read, str)


def _file() -> Kind[str]:
    def read(raw: Any) -> str:
        path = os.path.expanduser(_text(raw))
        if not os.path.isabs(path) or "\0" in path:
            raise ValueError("must be the absolute path of a file")
        return path

    return Kind("file", read, lambda value: value)


def _arguments() -> Kind[tuple[str, ...]]:
    """An argument list: never a shell string (docs/hooks.md)."""

    def read(raw: Any) -> tuple[str, ...]:
        if isinstance(raw, str):
            raw = json.loads(raw) if raw.startswith("[") else [raw]
        if raw == [OFF] or raw is False:
            return ()
        if not isinstance(raw, list | tuple) or not all(isinstance(word, str) and "\0" not in word for word in raw):
            raise ValueError("must be a list of arguments that starts with the program's absolute path")
        if len(raw) > _MAX_ARGUMENTS or any(len(word) > _MAX_ARGUMENT_LENGTH for word in raw):
            raise ValueError(f"must have at most {_MAX_ARGUMENTS} arguments of {_MAX_ARGUMENT_LENGTH} characters")
        if raw and not os.path.isabs(raw[0]):
            raise ValueError("must start with the program's absolute path (no shell searches for it)")
        return tuple(raw)

    return Kind("argument list, or off", read, list, takes_several_words=True)


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError("must be a string")
    return raw


@dataclass(frozen=True)
class Setting(Generic[T]):
    """One known setting.

    Attributes:
        name: dotted, as in the file.
        kind: its type.
        default: the value if nothing is set.
        help: one line.
    """

    name: str
    kind: Kind[T]
    default: T
    help: str

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(self.name.split("."))

    def read(self, raw: Any) -> T:
        """Return the value of a raw value from the file. Raises ``ConfigError``."""
        try:
            return self.kind.read(raw)
        except ValueError as error:
            raise ConfigError(
                f"{self.name} {_reason(error)}", hint=f"correct it with 'fortctl config set {self.name} …'"
            ) from None

    def parse_words(self, words: Sequence[str]) -> T:
        """Return the value of words on the command line. Raises ``UsageError``."""
        try:
            if self.kind.takes_several_words:
                return self.kind.read(words[0] if len(words) == 1 else list(words))
            if len(words) != 1:
                raise ValueError("must be a single word")
            return self.kind.read(words[0])
        except ValueError as error:
            raise UsageError(f"{self.name} {_reason(error)}", hint=f"see 'fortctl config get {self.name}'") from None


def _reason(error: ValueError) -> str:
    return "must be a JSON list" if isinstance(error, json.JSONDecodeError) else str(error)


EVENTS = ("pre-rotate", "post-rotate", "on-key-lost", "on-key-drift", "on-foreign-activity", "on-held", "on-panic")


def _events(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, str):
        raw = raw.split(",")
    if not isinstance(raw, list | tuple) or not all(event in EVENTS for event in raw):
        raise ValueError(f"must be any of {', '.join(EVENTS)}")
    return tuple(event for event in EVENTS if event in raw)


def _expected(raw: Any) -> tuple[str, ...]:
    if raw in (OFF, [OFF], False):
        return ()
    if isinstance(raw, str):
        raw = raw.split(",")
    pattern = re.compile(r"prefix:[A-Za-z0-9_-]{1,36}|symbol:\w{1,30}")
    if not isinstance(raw, list | tuple) or not all(isinstance(one, str) and pattern.fullmatch(one) for one in raw):
        raise ValueError("must be a list of prefix:TEXT (of client order ids) and symbol:SYMBOL")
    return tuple(raw)


RESUME_MAX_GAP = Setting(
    "resume.max_gap",
    _duration(MINUTE_MS, 90 * DAY_MS),
    6 * HOUR_MS,
    "longest trading break after which the robot resumes by itself; after a longer one it holds",
)
RESUME_MAX_DRIFT = Setting(
    "resume.max_drift",
    _percent(100),
    Decimal(5),
    "largest price change during a break, in per cent; after a larger one the robot holds",
)
ROBOT_DEADMAN = Setting(
    "robot.deadman",
    _or_off(_duration(10 * SECOND_MS, 30 * DAY_MS)),
    5 * MINUTE_MS,
    "longest time without a mailbox on another host; after that the robot places no orders",
)
KEYS_MAX_AGE = Setting(
    "keys.max_age",
    _duration(HOUR_MS, 3650 * DAY_MS),
    90 * DAY_MS,
    "age from which a key is due for rotation ('keys age')",
)
KEYS_DRIFT_INTERVAL = Setting(
    "keys.drift_interval",
    _duration(SECOND_MS, DAY_MS),
    5 * MINUTE_MS,
    "time between two questions of the robot about what its key may do",
)
KEYS_DRIFT_ACTION = Setting(
    "keys.drift_action",
    _choice("warn", "hold", "panic"),
    "hold",
    "what the robot does when its key gets a right to move funds out of the account",
)
ACCOUNT_EXPECTED = Setting(
    "account.expected",
    Kind("list of prefix:TEXT and symbol:SYMBOL, or off", _expected, list, takes_several_words=True),
    (),
    "orders that the owner places by hand, by client order id or symbol; the robot does not report them",
)
ACCOUNT_FOREIGN_ACTION = Setting(
    "account.foreign_action",
    _choice("warn", "panic"),
    "warn",
    "what the robot does about other activity on the account that is not its own",
)
METRICS_LISTEN = Setting(
    "metrics.listen", _or_off(_address()), None, "address at which the robot serves Prometheus metrics"
)
LOG_LEVEL = Setting(
    "log.level", _choice("debug", "info", "warning", "error"), "info", "lowest level that the robot logs"
)
LOG_MAX_SIZE = Setting(
    "log.max_size", _size(64 * 1024, 1024**3), 8 * 1024**2, "size at which the robot's log is rotated"
)
LOG_FILES = Setting("log.files", _whole(1, 100), 3, "number of rotated logs to keep")
HOOKS = {event: Setting(f"hooks.{event}", _arguments(), (), f"program to run at {event}") for event in EVENTS}
HOOKS_TIMEOUT = Setting(
    "hooks.timeout", _duration(SECOND_MS, HOUR_MS), 30 * SECOND_MS, "time limit of a hook; it is killed after that"
)
NOTIFY_URLS_FILE = Setting(
    "notify.urls_file", _or_off(_file()), None, "0600 file with Apprise URLs, one a line (they contain passwords)"
)
NOTIFY_EVENTS = Setting(
    "notify.events",
    Kind("list of events", _events, list, takes_several_words=True),
    EVENTS,
    f"events to notify of: any of {', '.join(EVENTS)}",
)


_ALL: tuple[Setting[Any], ...] = (
    RESUME_MAX_GAP,
    RESUME_MAX_DRIFT,
    ROBOT_DEADMAN,
    KEYS_MAX_AGE,
    KEYS_DRIFT_INTERVAL,
    KEYS_DRIFT_ACTION,
    ACCOUNT_EXPECTED,
    ACCOUNT_FOREIGN_ACTION,
    METRICS_LISTEN,
    LOG_LEVEL,
    LOG_MAX_SIZE,
    LOG_FILES,
    *HOOKS.values(),
    HOOKS_TIMEOUT,
    NOTIFY_URLS_FILE,
    NOTIFY_EVENTS,
)
SETTINGS: Mapping[str, Setting[Any]] = {setting.name: setting for setting in _ALL}


def find_setting(name: str) -> Setting[Any]:
    """Return a setting by its dotted name. Raises ``UsageError``."""
    setting = SETTINGS.get(name)
    if setting is None:
        import difflib

        near = difflib.get_close_matches(name, SETTINGS, n=1)
        hint = (
            f"did you mean {near[0]}? See 'fortctl config show' for all settings"
            if near
            else "see 'fortctl config show' for all settings"
        )
        raise UsageError(f"there is no setting {name}" if len(name) <= 64 else "there is no such setting", hint=hint)
    return setting


class HomeSettings:
    """The settings of one account of a home, read from the tables of a parsed ``config.toml``.

    (The robot's trading settings are another matter: :class:`fortctl.robot.core.settings.Settings`.)

    Args:
        layers: tables; the first one that has a setting wins (the account's own, then the home's).
    """

    def __init__(self, *layers: Mapping[str, Any]) -> None:
        self._layers = layers

    def get(self, setting: Setting[T]) -> T:
        """Return a setting's value, or its default. Raises ``ConfigError`` if the file has an invalid value."""
        raw = self.raw(setting)
        return setting.default if raw is None else setting.read(raw)

    def raw(self, setting: Setting[Any]) -> Any | None:
        """Return the raw value in the file, unchecked; None if there is none."""
        for layer in self._layers:
            raw = lookup(layer, setting.path)
            if raw is not None:
                return raw
        return None

    def check(self) -> None:
        """Raise ``ConfigError`` for the first invalid setting."""
        for setting in SETTINGS.values():
            self.get(setting)


def lookup(table: Mapping[str, Any], path: Sequence[str]) -> Any | None:
    """Return the value at a path of nested tables, or None."""
    value: Any = table
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def with_value(table: Mapping[str, Any], path: Sequence[str], raw: Any | None) -> dict[str, Any]:
    """Return the nested tables with one value set, or removed if *raw* is None; empty tables are removed too.

    Raises:
        ConfigError: the path leads through a value that is not a table.
    """
    name, *rest = path
    changed = dict(table)
    if not rest:
        changed.pop(name, None)
        return changed if raw is None else {**changed, name: raw}
    inner = changed.get(name, {})
    if not isinstance(inner, Mapping):
        raise ConfigError(f"'{name}' in the configuration must be a table", hint="correct config.toml, then try again")
    changed[name] = with_value(inner, rest, raw)
    if not changed[name]:
        del changed[name]
    return changed


def unknown_names(table: Mapping[str, Any]) -> list[str]:
    """Return the dotted names in a table that are not settings."""
    names = []
    for name, value in table.items():
        inner = {setting.path[1] for setting in SETTINGS.values() if setting.path[0] == name}
        if not inner or not isinstance(value, Mapping):
            names.append(name)
        else:
            names += [f"{name}.{key}" for key in value if key not in inner]
    return sorted(names)
