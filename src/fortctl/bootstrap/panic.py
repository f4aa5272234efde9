"""Make the ports of a panic. Nothing here may fail as a whole: the panic reports what could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fortctl.bootstrap.deadline import open_board
from fortctl.bootstrap.emergency import EmergencyReader
from fortctl.bootstrap.panic_latch import user_name
from fortctl.bootstrap.panic_rotation import abort_operation, open_operation
from fortctl.config.home import Home
from fortctl.errors import ConfigError, FortctlError
from fortctl.model import KeyPair
from fortctl.system.clock import SystemClock

if TYPE_CHECKING:
    from fortctl.bootstrap.container import Container
    from fortctl.cli.options import Globals
    from fortctl.ports import Exchange
    from fortctl.services.hooks import Hooks
    from fortctl.services.panic.halt import RemoteHalt
    from fortctl.services.panic.ports import PanicPorts


def panic_ports(given: Globals, account: str) -> PanicPorts:
    """Return what can be done for one account."""
    from fortctl.robot.core.submission import PROVED_AFTER_MS
    from fortctl.robot.process.local_robot import LocalRobot
    from fortctl.robot.storage.latch import LatchFile
    from fortctl.services.panic.ports import PanicPorts

    home, clock = Home(given.home), SystemClock()
    folder = home.robot(account).path
    emergency = EmergencyReader(given, home, account)

    def remote(cancel_orders: bool, timeout_s: float, begun_ms: int) -> RemoteHalt:
        from fortctl.services.panic.halt import RemoteHalt

        how: dict[str, Any] = {"cancel_orders": cancel_orders, "timeout_s": timeout_s, "begun_ms": begun_ms}
        return RemoteHalt(emergency, open_board, clock, **how)

    def load_exchange() -> None:
        from fortctl.exchange import client  # noqa: F401
        from fortctl.exchange.targets import resolve

        resolve(emergency.exchange(), home.path)

    def connect(pair: KeyPair) -> Exchange:
        from fortctl.exchange.client import BinanceExchange
        from fortctl.exchange.targets import resolve

        return BinanceExchange(resolve(emergency.exchange(), home.path), pair)

    def audit(what: str, facts: Mapping[str, Any]) -> None:
        from fortctl.store.audit_log import AuditLogFile

        AuditLogFile(home.audit).append(what, account=account, result="done", best_effort=True, **facts)

    def hooks() -> Hooks:
        from fortctl.bootstrap.container import make_hooks

        config = emergency.config()
        if config is None:
            raise ConfigError("the configuration cannot be read")
        return make_hooks(account, config.settings_for(account), clock)

    return PanicPorts(
        account=account,
        latch=LatchFile(folder),
        process=LocalRobot(home.path, account, folder),
        in_flight_ms=PROVED_AFTER_MS,
        remote=lambda: remote if emergency.is_remote() else None,
        keys=emergency,
        own_prefix=emergency.own_prefix,
        destroy=emergency.destroy,
        empty_mailbox=lambda: emergency.empty_mailbox(clock.now_ms()),
        abort_operation=lambda: abort_operation(home, account, clock.now_ms()),
        open_operation=lambda: open_operation(home, account),
        load_exchange=load_exchange,
        connect=connect,
        issuer=emergency.issuer,
        audit=audit,
        fire=lambda event, facts, wait_s: hooks().fire(event, facts, wait_s=wait_s),
        hooks=lambda event: hooks().names(event),
        clock=clock,
        user=user_name(),
    )


def void_waiting(container: Container) -> None:
    """Mark the other orders of the panic that is about to be cleared as used.

    The same operator may have sent several; those that the robot has not answered would latch it again. Orders of other
    operators stay valid.
    """
    from fortctl.robot.control.panic_listener import orders_of

    operator = container.latch.read().get("operator")
    if not isinstance(operator, str):
        return
    try:
        waiting = orders_of(container.mailbox.open_panics(container.account), operator)
    except FortctlError as error:
        container.warn(
            "ORDERS_MAY_WAIT", f"a second order of the same panic may latch the robot again: {error.message}"
        )
        return
    container.latch.update(lambda facts: {**facts, "orders": [*facts.get("orders", ()), *waiting]})
