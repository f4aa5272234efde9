"""The states of the world in which a panic must work, as a table that reads as documentation.

Each row says what is broken before the panic is run, and what of it a person must be told. Whatever is broken, no order
leaves after the latch, and unless the row says otherwise both key copies are gone from every file, the robot has ended,
and it stays latched.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.panic_world import World, obey_modes, write_no_byte

NAMED = "delete the robot key 'robot-1'"


@dataclass(frozen=True)
class Row:
    """One condition.

    Attributes:
        name: what the world is like.
        arrange: makes it so, in a world whose robot trades.
        says: what the person must be told, beside which keys to delete.
        exit_code: of the panic.
        orders_stay: its orders cannot be cancelled (and the person is told); None: the exchange may still hear of it.
        keys_stay: the key copies cannot be destroyed (and the person is told).
        latches: the latch can be written.
        slot: what unlocks the vaults.
        root: needs root.
        everyday: a row of ``make test`` too.
        timeout: seconds to halt in.
        after: what else must be true then.
    """

    name: str
    arrange: Callable[[World], None]
    says: tuple[str, ...] = (NAMED,)
    exit_code: int = 12
    orders_stay: bool | None = False
    keys_stay: bool = False
    latches: bool = True
    slot: str = "keyfile"
    root: bool = False
    everyday: bool = False
    timeout: str = "3"
    after: Callable[[World], None] = lambda world: None


# -- the robot -------------------------------------------------------------------------------------------------------


def nothing(world: World) -> None:
    """All is well, and it trades; a dry run says what would be done, and does nothing."""
    plan = world.shell.ok("panic-disconnect", "--dry-run")["steps"]
    assert {step["state"] for step in plan} == {"would"} and not (world.place / "latch").exists()


def hung(world: World) -> None:
    os.kill(world.robot_pid, signal.SIGSTOP)


def killed(world: World) -> None:
    os.kill(world.robot_pid, signal.SIGKILL)


def restarting(world: World) -> None:
    """A supervisor that starts it again at once, whatever its exit code; panic falls into the middle of a start."""
    loop = "while true; do " + " ".join(f"'{word}'" for word in world.shell.argv("robot", "run")) + "; done"
    os.kill(world.robot_pid, signal.SIGKILL)
    supervisor = subprocess.Popen(
        ["sh", "-c", loop],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=world.shell.environment,
        start_new_session=True,
    )

    def end() -> None:
        os.killpg(supervisor.pid, signal.SIGKILL)
        supervisor.wait()

    world.kept.append(end)


def socket_gone(world: World) -> None:
    (world.place / "socket").unlink()


# -- the disk --------------------------------------------------------------------------------------------------------


def full_disk(world: World) -> None:
    world.prepare = write_no_byte


def read_only_modes(world: World) -> None:
    for path in [*world.home.rglob("*"), world.home]:
        if not path.is_symlink() and not path.is_socket():
            path.chmod(0o500 if path.is_dir() else 0o400)
    world.prepare = obey_modes


def read_only_mount(world: World) -> None:
    script = f"mount --bind '{world.home}' '{world.home}' && mount -o remount,ro,bind '{world.home}' && exec \"$@\""
    world.wrap = ("unshare", "--mount", "sh", "-c", script, "panic")


def full_tmpfs(world: World) -> None:
    """The home is a small tmpfs, and every byte of it is taken."""
    world.place.joinpath("fill").write_bytes(b"")
    with open(world.place / "fill", "wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"x" * 4096)
        except OSError:
            pass


# -- the stores ------------------------------------------------------------------------------------------------------


def stores_locked(world: World) -> None:
    for name in ("mailbox.sqlite", "operations.sqlite"):
        connection = sqlite3.connect(world.home / name, isolation_level=None, timeout=10)
        connection.execute("BEGIN EXCLUSIVE")
        world.kept.append(connection.close)


def stores_gone(world: World) -> None:
    for path in [*world.home.glob("*.sqlite*"), *world.place.glob("*.sqlite*")]:
        path.unlink()


def vault_locked_by_another(world: World) -> None:
    for folder in (world.home, world.place):
        for path in folder.glob("*.lock"):
            if path.name not in ("latch.lock", "robot.lock"):
                descriptor = os.open(path, os.O_RDWR)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                world.kept.append(lambda descriptor=descriptor: os.close(descriptor))  # type: ignore[misc]


def vaults_shut(world: World) -> None:
    for folder in (world.home, world.place):
        (folder / "vault.key").rename(folder / "vault.key.away")


def vaults_damaged(world: World) -> None:
    for folder in (world.home, world.place):
        path = folder / "vault.toml"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def damaged_and_hung(world: World) -> None:
    vaults_damaged(world)
    hung(world)


def vaults_gone(world: World) -> None:
    for folder in (world.home, world.place):
        (folder / "vault.toml").unlink()


# -- configuration, plugins, log -------------------------------------------------------------------------------------


def configuration_broken(world: World) -> None:
    (world.home / "config.toml").write_bytes(b"[accounts\n\xff")


def home_open_to_others(world: World) -> None:
    world.home.chmod(0o755)


def plugins_broken(world: World) -> None:
    folder = world.home.parent / "plugins"
    info = folder / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "broken.py").write_text("raise SystemExit('a plugin was loaded')\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[fortctl.commands]\npanic-disconnect = broken:command\nx = broken:command\n"
    )
    world.shell.environment["PYTHONPATH"] = str(folder)


def audit_log_damaged(world: World) -> None:
    with open(world.home / "audit.jsonl", "ab") as stream:
        stream.write(b'{"half": ')


def hooks_broken(world: World) -> None:
    hang = [sys.executable, "-c", "import time; time.sleep(600)"]
    world.shell.ok("config", "set", "hooks.on-panic", json.dumps(hang))


# -- the exchange ----------------------------------------------------------------------------------------------------


def silent_exchange(world: World) -> None:
    """It takes connections and answers nothing."""
    os.kill(world.template.paper.process.pid, signal.SIGSTOP)


def no_network(world: World) -> None:
    hung(world)
    world.wrap = ("unshare", "--net")


def banned(world: World) -> None:
    world.template.page.ok("paper", "fault", "set", "http-418", "--count", "100000")
    world.kept.append(lambda: world.template.page.ok("paper", "fault", "clear"))


# -- other commands --------------------------------------------------------------------------------------------------


def rotation_in_the_middle(world: World) -> None:
    begun = world.shell.run("keys", "rotate", "--role", "robot", "--begin", "--mode", "overlap")
    assert begun.code == 12, begun.out


def rotation_was_aborted(world: World) -> None:
    operation = world.shell.ok("keys", "rotate", "--status")["operation"]
    assert operation["state"] == "aborted", operation


ROWS = (
    Row("all is well", nothing, everyday=True),
    Row("the robot hangs (SIGSTOP)", hung, everyday=True),
    Row("the robot was killed", killed),
    Row("the robot is being restarted by its supervisor", restarting),
    Row("the robot's socket is gone", socket_gone),
    Row("the disk is full", full_disk, everyday=True),
    Row("the home is a small disk that is full", full_tmpfs, root=True),
    Row("the home is read-only by its modes", read_only_modes, everyday=True),
    Row(
        "the home is on a read-only mount",
        read_only_mount,
        says=(NAMED, "the latch of account default could not be written", "could not all be destroyed"),
        keys_stay=True,
        latches=False,
        root=True,
    ),
    Row("the stores are locked by another process", stores_locked),
    Row("the stores are gone", stores_gone),
    Row("the vaults are being written by another process", vault_locked_by_another),
    Row("nothing unlocks the vaults", vaults_shut),
    Row("the vaults need a passphrase", nothing, slot="passphrase"),
    Row("the vaults need a passphrase, and the robot hangs", hung, slot="passphrase", orders_stay=True),
    Row("the vaults are damaged", vaults_damaged),
    Row("the vaults are damaged, and the robot hangs", damaged_and_hung, orders_stay=True),
    Row("the vaults are gone", vaults_gone),
    Row("the configuration cannot be parsed", configuration_broken),
    Row("the home may be read by others", home_open_to_others),
    Row("the plugins are broken", plugins_broken),
    Row("the audit log is damaged", audit_log_damaged),
    Row("the hook hangs", hooks_broken),
    Row("the exchange answers nobody", silent_exchange, says=(NAMED, "look for the robot's open orders"),
        orders_stay=None, everyday=True, timeout="1"),
    Row("there is no network, and the robot hangs", no_network, says=(NAMED, "look for the robot's open orders"),
        orders_stay=True, root=True),
    Row("the exchange answers 418", banned, says=(NAMED, "look for the robot's open orders"), orders_stay=True),
    Row("a rotation is in the middle", rotation_in_the_middle, after=rotation_was_aborted),
)  # fmt: skip


def mount_tmpfs(path: Path, size: str) -> Callable[[], None]:
    """Mount a small tmpfs; return what takes it away."""
    path.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "panic", str(path)], check=True)
    return lambda: subprocess.run(["umount", "-l", str(path)], check=True) and None
