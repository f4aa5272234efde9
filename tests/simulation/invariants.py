"""robot.md's eight invariants, held against the exchange's truth once a world has come to rest."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from fortctl.robot.core.book import Book
from fortctl.robot.core.order_ids import parse
from simulation.network import ROBOT_ID
from support.robot_world import BNB_PRICE

if TYPE_CHECKING:
    from support.robot_world import Robot, World

ZERO = Decimal(0)
# A unit's cost is a quotient of 28 digits.
ROUNDED = Decimal("1e-18")


def differences(world: World, book: Book) -> list[str]:
    """Return where the books differ from what the exchange knows of our orders (invariants 2, 3, 4)."""
    found = []
    ours = world.ours()
    for name, order in sorted(ours.items()):
        kept = book.orders.get(name)
        if kept is None:
            found.append(f"3: {name} is at the exchange and not in the books")
            continue
        if kept.absent and order.executed:
            found.append(f"2: {name} is taken as not placed, and has executed {order.executed}")
        if kept.absent and order.open:
            found.append(f"2: {name} is taken as not placed, and is open")
        if kept.booked != order.executed:
            found.append(f"3: {name} has executed {order.executed}, {kept.booked} is booked")
        if order.id != kept.order_id:
            found.append(f"3: {name} is number {order.id}, the books have {kept.order_id}")
        if kept.final == order.open:
            found.append(f"3: {name} is {order.status}, the books have {kept.status}")
    for name in sorted(book.orders.keys() - ours.keys()):
        if not book.orders[name].absent:
            found.append(f"2: {name} is in the books, unresolved, and was never at the exchange")
    return found + _ledger(world, book)


def _ledger(world: World, book: Book) -> list[str]:
    found = []
    fills = world.fills_of_ours()
    if {int(row["id"]) for row in fills} != book.trades:
        found.append("3: the booked trades are not the exchange's")
    moved: dict[str, Decimal] = {}
    for row in fills:
        sign = 1 if row["isBuyer"] else -1
        moved[book.base] = moved.get(book.base, ZERO) + sign * Decimal(row["qty"])
        moved[book.quote] = moved.get(book.quote, ZERO) - sign * Decimal(row["quoteQty"])
        asset = row["commissionAsset"]
        moved[asset] = moved.get(asset, ZERO) - Decimal(row["commission"])
    found += profit_explained(book, moved)
    booked = {asset: amount for asset, amount in book.moved.items() if amount}
    if booked != {asset: amount for asset, amount in moved.items() if amount}:
        found.append(f"4: the ledger says {booked}, the exchange {moved}")
    if book.inventory() != moved.get(book.base, ZERO):
        found.append(f"4: the cycles hold {book.inventory()}, the exchange's trades leave {moved.get(book.base, ZERO)}")
    if any(cycle.held_quantity < 0 for cycle in book.cycles.values()) or book.dust < 0:
        found.append("4: a cycle has sold what it did not buy")
    limit = book.settings.max_quote if book.settings else None
    buying = any(order.leg == "buy" and not order.final for order in book.unsettled())
    # What was bought under a larger budget stays; no buy waits beside it.
    if limit is not None and buying and book.committed_quote() > limit:
        found.append(f"4: {book.committed_quote()} is bound, {limit} is allowed")
    return found


def profit_explained(book: Book, moved: dict[str, Decimal]) -> list[str]:
    """Return where the profit is not what the exchange's trades brought in, every commission taken off at its worth.

    What came in is the profit of finished cycles, what live ones have earned and spent so far, less what the dust cost.
    """
    came_in = moved.get(book.quote, ZERO) + moved.get("BNB", ZERO) * BNB_PRICE
    known = book.profit + sum((one.received - one.spent - one.fees - one.dust_cost for one in book.live_cycles()), ZERO)
    # Charged before its worth was known: in no profit, and reported apart.
    known -= book.dust_cost + book.other_commissions.get("BNB", ZERO) * BNB_PRICE
    if abs(came_in - known) > ROUNDED:
        return [f"4: the exchange's trades brought {came_in} {book.quote}, the books explain {known}"]
    return []


def names_are_pure(book: Book) -> list[str]:
    """Return the orders whose name is not the function of cycle, leg and attempt that it must be (invariant 1)."""
    return [
        f"1: {name} is not the name of its cycle, leg and attempt"
        for name, order in book.orders.items()
        if parse(ROBOT_ID, name) != (order.cycle, order.leg, order.attempt)
    ]


def persons_orders_untouched(world: World, persons: set[str]) -> list[str]:
    """Return a person's orders that somebody else has ended (invariant 7)."""
    found = []
    for order in world.engine.state.orders.values():
        name = order.client_order_id
        if name in persons and order.status == "CANCELED":
            found.append(f"7: {name} is a person's, and was cancelled")
    return found


def secrets_stay_inside(world: World, folder: Path) -> list[str]:
    """Return where a key's secret has come out (invariant 8): the journal's files and the log are searched."""
    texts = [path.read_bytes() for path in folder.iterdir()] + ["\n".join(world.trace).encode()]
    secrets = [key.secret.encode() for key in world.engine.state.keys.values()]
    return [
        "8: a secret is in the journal or in the log" for secret in secrets if any(secret in text for text in texts)
    ]


def at_work(robot: Robot) -> list[str]:
    """Return what the robot still wants, in a quiet world where nothing hinders it: it has come back to work."""
    runner = robot.runner
    if runner.state not in ("running", "draining", "stopped"):
        return [f"live: it is {runner.state}: {runner.status()['reason']}"]
    if runner.robot.rules is None or runner.robot.price is None:
        return ["live: it knows no price"]
    wanted = runner.strategy.plan(runner.executor.view(runner.robot.price, runner.robot.rules, runner.robot.rate))
    return [f"live: it still wants {len(wanted.intents)} orders"] if wanted.intents else []
