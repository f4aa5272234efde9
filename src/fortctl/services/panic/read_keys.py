"""Read an account's keys from several places side by side: a place that hangs costs its own keys alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from fortctl.services.panic.known_key import KeysRead, KnownKey
from fortctl.services.panic.ports import KeyReader
from fortctl.system.threads import run_in_daemon_thread

T = TypeVar("T")
# Unlocking a vault may take two seconds and reading the configuration one (bootstrap/deadline.py).
VAULTS_WITHIN_S = 4.0
REST_WITHIN_S = 2.5


@dataclass(frozen=True)
class AllKeysRead:
    """What all the places say together.

    Attributes:
        read: the keys, and the roles of which nothing says which key they had.
        queued: when keys were sent to the robot that it has not accepted (RFC 3339).
        late: the places that could not be read in time.
    """

    read: KeysRead
    queued: frozenset[str] = frozenset()
    late: tuple[str, ...] = ()


class _Places:
    """Reads one place after another; notes which were late."""

    def __init__(self) -> None:
        self.late: list[str] = []

    async def read(self, place: str, work: Callable[[], T], otherwise: T, within_s: float) -> T:
        try:
            async with asyncio.timeout(within_s):
                return await run_in_daemon_thread(work)
        except TimeoutError:
            self.late.append(place)
        except Exception:  # whatever is broken there, the other places are read
            pass
        return otherwise


async def read_all_keys(reader: KeyReader) -> AllKeysRead:
    """Return what can be read of the keys in time; never raises.

    A place that fails or hangs leaves its role unknown. The robot's card and the configuration are read only where the
    vaults leave open what they can answer.
    """
    places = _Places()
    none: Sequence[str] = ()
    site, robot, queued = await asyncio.gather(
        places.read("the site's vault", reader.site_vault, KeysRead(unknown=("site",)), VAULTS_WITHIN_S),
        places.read("the robot's vault", reader.robot_vault, KeysRead(unknown=("robot",)), VAULTS_WITHIN_S),
        places.read("the mailbox", reader.deliveries, none, VAULTS_WITHIN_S),
    )
    keys, unknown = [*site.keys, *robot.keys], {*site.unknown, *robot.unknown}

    async def card() -> None:
        if not any(key.role == "robot" and key.pair is not None for key in keys):
            keys.extend(await places.read("the robot's card", reader.robot_card, (), REST_WITHIN_S))

    async def robot_role() -> None:
        if "robot" in unknown and await places.read("the configuration", reader.never_had_robot, False, REST_WITHIN_S):
            unknown.discard("robot")

    await asyncio.gather(card(), robot_role())
    return AllKeysRead(
        KeysRead([_with_fingerprint(key, site) for key in keys], unknown, site.fingerprint),
        frozenset(queued),
        tuple(places.late),
    )


def _with_fingerprint(key: KnownKey, site: KeysRead) -> KnownKey:
    """Return the key with the fingerprint that the home gives it, where both could be read."""
    if key.pair is None or key.fingerprint or site.fingerprint is None:
        return key
    return replace(key, fingerprint=site.fingerprint(key.pair.api_key))
