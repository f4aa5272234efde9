"""The settings that ``config.toml`` may hold: names, types, units, defaults, bounds. Pure.

A setting lies in the file under its dotted name (``[resume]`` ``max_gap = "6h"``); for one account alone under
``[accounts.NAME.settings]``. What is written is canonical, what is read is checked; a name that is not here is kept in
the file and means nothing. Nothing secret belongs into the configuration: what is secret is named by the path of a
0600 file.
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
_LONGEST_ARGUMENT, _MOST_ARGUMENTS = 4096, 64
OFF = "off"


def parse_duration(text: str) -> int:
    """Return a duration such as ``30s``, ``6h`` or ``90d`` in milliseconds. Raises ``ValueError``."""
    found = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h|d|w)", text)
    if found is None:
        raise ValueError("it is a number with ms, s, m, h, d or w, such as 6h")
    return int(found[1]) * _UNITS[found[2]]


def format_duration(milliseconds: int) -> str:
    """Return a duration in the largest unit that leaves nothing over; the inverse of :func:`parse_duration`."""
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % _UNITS[unit] == 0:
            return f"{milliseconds // _UNITS[unit]}{unit}"
    return f"{milliseconds}ms"


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A type of settings.

    Attributes:
        name: how it is called.
        read: makes the value of what the file holds or a person typed; raises ``ValueError``.
        write: makes of the value what the file holds.
        many: several words on the command line make one value.
    """

    name: str
    read: Callable[[Any], T]
    write: Callable[[T], Any]
    many: bool = False


def _duration(least: int, most: int) -> Kind[int]:
    def read(raw: Any) -> int:
        value = parse_duration(_text(raw))
        if not least <= value <= most:
            raise ValueError(f"it is between {format_duration(least)} and {format_duration(most)}")
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
            raise ValueError("it is a number of per cent, such as 5 or 2.5")
        try:
            value = Decimal(str(raw).removesuffix("%"))
        except InvalidOperation:
            value = Decimal("NaN")
        if not (value.is_finite() and 0 < value <= most and value == round(value, 4)):
            raise ValueError(f"it is a number of per cent above 0, at most {most}")
        return value

    return Kind("per cent", read, lambda value: f"{value.normalize():f}")


def _whole(least: int, most: int) -> Kind[int]:
    def read(raw: Any) -> int:
        text = str(raw)
        if isinstance(raw, bool | float) or not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"it is a whole number from {least} to {most}")
        return int(text)

    return Kind("number", read, lambda value: value)


def _size(least: int, most: int) -> Kind[int]:
    def read(raw: Any) -> int:
        found = re.fullmatch(r"([0-9]{1,9}) ?(KiB|MiB|GiB|)", str(raw))
        value = int(found[1]) * _SIZES[found[2]] if found and not isinstance(raw, bool) else 0
        if not least <= value <= most:
            raise ValueError(f"it is a size from {_show_size(least)} to {_show_size(most)}, such as 8MiB")
        return value

    return Kind("size", read, _show_size)


def _show_size(value: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if value and value % _SIZES[unit] == 0:
            return f"{value // _SIZES[unit]}{unit}"
    return str(value)


def _choice(*names: str) -> Kind[str]:
    def read(raw: Any) -> str:
        if raw not in names:
            raise ValueError(f"it is one of {', '.join(names)}")
        return str(raw)

    return Kind("|".join(names), read, lambda value: value)


@dataclass(frozen=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address() -> Kind[Address]:
    """HOST:PORT, or a port alone on this machine's own loopback."""

    def read(raw: Any) -> Address:
        found = re.fullmatch(r"(?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):)?([0-9]{1,5})", str(raw))
        if isinstance(raw, bool) or found is None or not 0 < int(found[2]) < 65536:
            raise ValueError("it is HOST:PORT, or PORT on this machine's loopback")
        return Address((found[1] or "127.0.0.1").strip("[]"), int(found[2]))

    return Kind("address", read, str)


def _file() -> Kind[str]:
    def read(raw: Any) -> str:
        path = os.path.expanduser(_text(raw))
        if not os.path.isabs(path) or "\0" in path:
            raise ValueError("it is the absolute path of a file")
        return path

    return Kind("file", read, lambda value: value)


def _arguments() -> Kind[tuple[str, ...]]:
    """An argument list: never a shell string (security.md, "Plugins, hooks, formats")."""

    def read(raw: Any) -> tuple[str, ...]:
        if isinstance(raw, str):
            raw = json.loads(raw) if raw.startswith("[") else [raw]
        if raw == [OFF] or raw is False:
            return ()
        if not isinstance(raw, list | tuple) or not all(isinstance(word, str) and "\0" not in word for word in raw):
            raise ValueError("it is a list of arguments, the program's absolute path first")
        if len(raw) > _MOST_ARGUMENTS or any(len(word) > _LONGEST_ARGUMENT for word in raw):
            raise ValueError(f"it has at most {_MOST_ARGUMENTS} arguments of {_LONGEST_ARGUMENT} characters")
        if raw and not os.path.isabs(raw[0]):
            raise ValueError("the program is named by its absolute path (no shell looks for it)")
        return tuple(raw)

    return Kind("argument list, or off", read, list, many=True)


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError("it is a text")
    return raw


@dataclass(frozen=True)
class Setting(Generic[T]):
    """One known setting.

    Attributes:
        name: dotted, as it lies in the file.
        kind: its type.
        default: the value where nothing is set.
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
        """Return the value of what the file holds. Raises ``ConfigError``."""
        try:
            return self.kind.read(raw)
        except ValueError as error:
            raise ConfigError(
                f"{self.name} is not valid: {_reason(error)}", hint=f"'fortctl config set {self.name} …' mends it"
            ) from None

    def parse_words(self, words: Sequence[str]) -> T:
        """Return the value that a person typed. Raises ``UsageError``."""
        try:
            if self.kind.many:
                return self.kind.read(words[0] if len(words) == 1 else list(words))
            if len(words) != 1:
                raise ValueError("it is one word")
            return self.kind.read(words[0])
        except ValueError as error:
            raise UsageError(
                f"that is no value of {self.name}: {_reason(error)}", hint=f"see 'fortctl config get {self.name}'"
            ) from None


def _reason(error: ValueError) -> str:
    return "it is no JSON list" if isinstance(error, json.JSONDecodeError) else str(error)


EVENTS = ("pre-rotate", "post-rotate", "on-key-lost", "on-held", "on-panic")


def _events(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, str):
        raw = raw.split(",")
    if not isinstance(raw, list | tuple) or not all(one in EVENTS for one in raw):
        raise ValueError(f"it is any of {', '.join(EVENTS)}")
    return tuple(event for event in EVENTS if event in raw)


RESUME_MAX_GAP = Setting(
    "resume.max_gap", _duration(MINUTE_MS, 90 * DAY_MS), 6 * HOUR_MS, "a longer break holds the robot for a person"
)
RESUME_MAX_DRIFT = Setting(
    "resume.max_drift", _percent(100), Decimal(5), "a larger change of the price during a break holds the robot"
)
ROBOT_DEADMAN = Setting(
    "robot.deadman",
    _or_off(_duration(10 * SECOND_MS, 30 * DAY_MS)),
    5 * MINUTE_MS,
    "without a mailbox on another host for longer, the robot places nothing more",
)
KEYS_MAX_AGE = Setting(
    "keys.max_age", _duration(HOUR_MS, 3650 * DAY_MS), 90 * DAY_MS, "an older key is to be rotated ('keys age')"
)
METRICS_LISTEN = Setting("metrics.listen", _or_off(_address()), None, "where Prometheus may ask the robot")
LOG_LEVEL = Setting("log.level", _choice("debug", "info", "warning", "error"), "info", "what the robot's log tells")
LOG_MAX_SIZE = Setting("log.max_size", _size(64 * 1024, 1024**3), 8 * 1024**2, "a larger log is rotated")
LOG_FILES = Setting("log.files", _whole(1, 100), 3, "rotated logs that are kept")
HOOKS = {event: Setting(f"hooks.{event}", _arguments(), (), f"a program to run {event}") for event in EVENTS}
HOOKS_TIMEOUT = Setting("hooks.timeout", _duration(SECOND_MS, HOUR_MS), 30 * SECOND_MS, "a longer hook is ended")
NOTIFY_URLS_FILE = Setting(
    "notify.urls_file", _or_off(_file()), None, "a 0600 file with Apprise's URLs, one a line; they hold passwords"
)
NOTIFY_EVENTS = Setting(
    "notify.events",
    Kind("list of events", _events, list, many=True),
    EVENTS,
    f"what is told: any of {', '.join(EVENTS)}",
)


_ALL: tuple[Setting[Any], ...] = (
    RESUME_MAX_GAP,
    RESUME_MAX_DRIFT,
    ROBOT_DEADMAN,
    KEYS_MAX_AGE,
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
    found = SETTINGS.get(name)
    if found is None:
        import difflib

        near = difflib.get_close_matches(name, SETTINGS, n=1)
        hint = f"did you mean {near[0]}? 'fortctl config show' lists all" if near else "'fortctl config show' lists all"
        raise UsageError(f"there is no setting {name}" if len(name) <= 64 else "there is no such setting", hint=hint)
    return found


class HomeSettings:
    """The settings in force for one account, read from the tables of a parsed ``config.toml``.

    Args:
        layers: tables, the first that holds a setting wins (an account's own, then the home's).
    """

    def __init__(self, *layers: Mapping[str, Any]) -> None:
        self._layers = layers

    def get(self, setting: Setting[T]) -> T:
        """Return a setting's value, or its default. Raises ``ConfigError`` when the file holds no valid one."""
        raw = self.raw(setting)
        return setting.default if raw is None else setting.read(raw)

    def raw(self, setting: Setting[Any]) -> Any | None:
        """Return what the file holds, unchecked; None when it holds nothing."""
        for layer in self._layers:
            found = lookup(layer, setting.path)
            if found is not None:
                return found
        return None

    def check(self) -> None:
        """Raise ``ConfigError`` for the first setting that is not valid."""
        for setting in SETTINGS.values():
            self.get(setting)


def lookup(table: Mapping[str, Any], path: Sequence[str]) -> Any | None:
    """Return what lies under a path of nested tables, or None."""
    found: Any = table
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def with_value(table: Mapping[str, Any], path: Sequence[str], raw: Any | None) -> dict[str, Any]:
    """Return the nested tables with one value put in, or taken out with None; tables left empty go too.

    Raises:
        ConfigError: a value stands where a table is needed.
    """
    name, *rest = path
    changed = dict(table)
    if not rest:
        changed.pop(name, None)
        return changed if raw is None else {**changed, name: raw}
    inner = changed.get(name, {})
    if not isinstance(inner, Mapping):
        raise ConfigError(f"'{name}' in the configuration is no table", hint="mend config.toml, then try again")
    changed[name] = with_value(inner, rest, raw)
    if not changed[name]:
        del changed[name]
    return changed


def unknown_names(table: Mapping[str, Any]) -> list[str]:
    """Return the dotted names in a table that no setting has."""
    found = []
    for name, value in table.items():
        inner = {setting.path[1] for setting in SETTINGS.values() if setting.path[0] == name}
        if not inner or not isinstance(value, Mapping):
            found.append(name)
        else:
            found += [f"{name}.{key}" for key in value if key not in inner]
    return sorted(found)
