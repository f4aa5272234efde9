"""What each reason to hold, reason to wait and state of a robot means, and what to do about it."""

from __future__ import annotations

_LOOK = "look at 'fortctl robot status' and at the account, then 'fortctl robot resume'"
_ITSELF = "the robot continues by itself afterwards"

# Word → what it means, what to do.
STATE_MESSAGES: dict[str, tuple[str, str]] = {
    # Reasons to hold
    "GAP": ("the break since the last accepted answer was longer than resume.max_gap", _LOOK),
    "DRIFT": ("the price moved by more than resume.max_drift during a break", _LOOK),
    "UNKNOWN_ORDER": (
        "an open order has the robot's prefix and is not in its journal",
        f"whose is it? {_LOOK}",
    ),
    "BALANCE": ("the account has less of the base asset than the robot's cycles bought", f"put it back; {_LOOK}"),
    "ROLLED_BACK": ("the exchange has lost what it had reported to the robot", _LOOK),
    "ACCOUNT": (
        "the key belongs to another account than the robot's first key",
        f"give the robot a key of its account; {_LOOK}",
    ),
    "SYMBOL": (
        "the exchange does not trade the symbol any more",
        f"sell by hand what is left, configure another ('fortctl robot configure'); {_LOOK}",
    ),
    "BOOKS": ("the journal holds an event that the books could not follow", f"send a support bundle; {_LOOK}"),
    "STRATEGY": (
        "the strategy cannot be loaded, or failed",
        "see 'fortctl plugins list' and 'fortctl robot logs', then 'fortctl robot resume'",
    ),
    "KEY_DRIFT": (
        "the robot's key got a right to move funds out of the account since a person accepted it",
        "if nobody of yours ticked the right: 'fortctl panic-disconnect'; else untick it on Binance's page, and the"
        " robot resumes once it is gone; 'fortctl robot resume' accepts it",
    ),
    "PANIC": ("the robot was latched by a panic, and the latch was cleared", _LOOK),
    "OTHER_ROBOT": (
        "another robot's orders are open on this account: two robots must not trade on one account",
        f"stop the other robot and cancel its orders, or leave this one stopped; {_LOOK}",
    ),
    "JOURNAL_BEHIND": (
        "the journal is older than what the robot wrote last (it was lost, or an old copy was put back)",
        f"put the newest journal back, or cancel and sell by hand what it does not know; {_LOOK}",
    ),
    "JOURNAL": ("the journal cannot be written", f"make room, or end what locks it; {_ITSELF}"),
    "DISK": ("less than 16 MiB are left on the journal's disk", f"make room; {_ITSELF}"),
    "DEADMAN": ("the mailbox was not reached for longer than robot.deadman", f"see 'fortctl doctor'; {_ITSELF}"),
    # Why something waits while it trades
    "HALTED": ("the symbol does not trade now", _ITSELF),
    "SELL_WAITS": ("a cycle's sell cannot be placed now: a filter forbids it, or the exchange refuses it", _ITSELF),
    "BUY_WAITS": (
        "a buy is not on the market: a filter forbids it, or the exchange refuses it (its own words are in the status)",
        f"add funds, or change the settings ('fortctl robot configure'); {_ITSELF}",
    ),
    "UNKNOWN": ("an order's outcome is not known yet; the robot looks it up and never repeats it blindly", _ITSELF),
    "MARKET": ("the market stream is down: the robot does not see at what price the symbol is traded", _ITSELF),
    "BOUNDS": (
        "every free level lies outside floor and ceiling: nothing is bought",
        "change them ('fortctl robot configure'), or stop and start: that lays a new grid",
    ),
    "EXCHANGE": ("the exchange does not answer", f"see 'fortctl doctor'; {_ITSELF}"),
    # States
    "KEY_LOST": (
        "the exchange refuses the robot's key: no order call is made any more",
        "'fortctl robot status' says why; then 'fortctl keys change --role robot'",
    ),
    "AWAITING_KEY": ("the robot has no key", "'fortctl keys add --role robot' gives it one"),
    "HELD": ("the robot waits for a person; its reasons are in 'fortctl robot status'", _LOOK),
    "LATCHED": ("off after a panic", "look at the account, then 'fortctl panic-clear'"),
    "RECONCILING": ("the robot makes its books agree with the exchange before it places anything", _ITSELF),
    "DRAINING": ("the robot opens no new cycle and finishes the open ones", "wait, or 'fortctl robot stop --now'"),
}
