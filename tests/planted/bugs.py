"""Bugs that were planted on purpose, one after another, and the test that must catch each.

``make planted`` copies the source, makes one mutation, and lets the named test run against the copy: it must fail. The
table in docs/robot.md is written from this list (``python -m planted.run --write`` in ``tests/``).
"""

from __future__ import annotations

from dataclasses import dataclass

SIM = "tests/simulation/test_simulation.py"
WORLD = "tests/component/robot/test_invariants.py"
EXHAUSTIVE = "tests/simulation/test_exhaustive.py"
UNDISTURBED = "tests/simulation/test_undisturbed.py"
KEYLOSS = "tests/component/robot/test_key_loss.py"


@dataclass(frozen=True)
class Bug:
    """One mutation.

    Attributes:
        name: what is wrong.
        file: below ``src/fortctl``.
        good, bad: the text that is there once, and what takes its place.
        test: what must catch it (a pytest node, or ``-k`` words after a space).
        rule: the invariant of robot.md that it breaks.
    """

    name: str
    file: str
    good: str
    bad: str
    test: str
    rule: str


BUGS = (
    Bug(
        "the intent is journaled after its order has left",
        "robot/trading/order_executor.py",
        "        robot.record(*events)\n        return [",
        "        robot.record_with_next(*events)\n        return [",
        SIM,
        "1",
    ),
    Bug(
        "a refusal is taken for a lost key without a second check",
        "robot/trading/key_monitor.py",
        "                if cause is None:\n",
        '                cause = cause or Cause("refused", "possible", "")\n                if cause is None:\n',
        f"{KEYLOSS} -k what_passes",
        "key_lost",
    ),
    Bug(
        "a lost key is taken for a passing refusal",
        "robot/core/key_loss.py",
        "    if not verdict.accepted:\n",
        "    if not verdict.accepted:\n        return None\n    if not verdict.accepted:\n",
        f"{KEYLOSS} -k one_look",
        "key_lost",
    ),
    Bug(
        "the attempt number is not raised",
        "robot/core/book.py",
        "        return cycle.attempts[leg] + 1\n",
        "        return max(1, cycle.attempts[leg])\n",
        SIM,
        "1",
    ),
    Bug(
        "a commission in base is ignored",
        "robot/core/book.py",
        "cycle.bought += event.quantity - in_base",
        "cycle.bought += event.quantity",
        SIM,
        "4",
    ),
    Bug(
        "the lease is not checked",
        "robot/trading/state.py",
        "return self.calm() and self.journal.owns()",
        "return self.calm()",
        f"{WORLD} -k older_owner",
        "5",
    ),
    Bug(
        "the lease is checked before the timestamp is fixed",
        "robot/core/submission.py",
        "    SubmissionStep.STAMP,\n    SubmissionStep.JOURNAL,\n    SubmissionStep.LOCK,\n    SubmissionStep.LATCH,\n    SubmissionStep.LEASE,\n",
        "    SubmissionStep.JOURNAL,\n    SubmissionStep.LEASE,\n    SubmissionStep.STAMP,\n    SubmissionStep.LOCK,\n    SubmissionStep.LATCH,\n",
        f"{EXHAUSTIVE} -k nothing_twice",
        "5",
    ),
    Bug(
        "a cancelled order is taken as unfilled",
        "robot/core/book.py",
        "event = CycleEvent.BUY_DONE if order.executed else CycleEvent.BUY_EMPTY",
        "event = CycleEvent.BUY_DONE if order.executed == order.quantity else CycleEvent.BUY_EMPTY",
        "tests/component/robot/test_first_sell.py -k cut_short",
        "3",
    ),
    Bug(
        "an unknown outcome is taken as not placed",
        "robot/trading/order_executor.py",
        "        if fault.outcome in (Outcome.UNKNOWN, Outcome.DUPLICATE):\n",
        "        if fault.outcome is Outcome.DUPLICATE:\n",
        SIM,
        "2",
    ),
    Bug(
        "an order that is not visible yet is taken as not placed",
        "robot/trading/order_lookup.py",
        "        if left_ms < 0:\n",
        "        if left_ms < 10_000:\n",
        "tests/component/robot/test_resume.py -k visible",
        "2",
    ),
    Bug(
        "trades are not paged",
        "exchange/client.py",
        "            found += fills\n            if len(fills) < PAGE:\n",
        "            found += fills\n            if True:\n",
        "tests/component/robot/test_resume.py -k thousand",
        "3",
    ),
    Bug(
        "the latch is read before its lock is held",
        "robot/core/submission.py",
        "    SubmissionStep.STAMP,\n    SubmissionStep.JOURNAL,\n    SubmissionStep.LOCK,\n    SubmissionStep.LATCH,\n    SubmissionStep.LEASE,\n",
        "    SubmissionStep.STAMP,\n    SubmissionStep.JOURNAL,\n    SubmissionStep.LATCH,\n    SubmissionStep.LOCK,\n    SubmissionStep.LEASE,\n",
        f"{EXHAUSTIVE} -k nothing_twice",
        "6",
    ),
    Bug(
        "every open order is cancelled, also a person's",
        "robot/trading/order_executor.py",
        "order = await exchange.cancel(settings.symbol, name, order_id=number)",
        'order = await exchange.cancel(settings.symbol, "")',
        f"{WORLD} -k after_the_latch",
        "7",
    ),
    Bug(
        "a break is not judged before the next order",
        "robot/trading/state.py",
        "self.exchange_now() - self.last_contact.at <= min(UNBROKEN_MS, self.limits.max_gap_ms)\n",
        "True\n",
        "tests/component/robot/test_resume.py -k frozen",
        "held",
    ),
    Bug(
        "an exchange that goes back is believed",
        "robot/core/reconciliation.py",
        "    elif state.executed < ours.executed:\n",
        "    elif False:\n",
        "tests/component/robot/test_resume.py -k rolled_back",
        "held",
    ),
    Bug(
        "a buy whose level was given up just before a kill is not cancelled",
        "robot/strategy/grid.py",
        "        orders = [*_out_of_grid_orders(book), *_buys(book, settings, view)]\n",
        "        orders = _buys(book, settings, view)\n",
        f"{UNDISTURBED} -k never_killed",
        "3",
    ),
    Bug(
        "a commission in BNB is in no profit",
        "robot/core/book.py",
        "        return commission * self.prices.get(asset, ZERO) if asset != self.base else ZERO\n",
        "        return ZERO\n",
        SIM,
        "4",
    ),
)
