"""What a robot keeps on disk, in ``HOME/robots/ACCOUNT``: the journal, its checkpoint, and the panic latch.

The journal (``journal``) is append-only. Every append is one transaction that is on disk before it returns, and it
carries a fencing token: a robot that another process has replaced can write nothing more. Beside it lies a small
checkpoint (``journal_checkpoint``) that says how far the journal had got, so that a copy restored from an old backup is
noticed before it trades. In its database lies a snapshot of the book (``journal_snapshot``), so that a start need not
replay all events.

The latch (``latch``) is one file. While it exists no order leaves, whatever the robot's process believes; panic creates
it before it does anything else.

``offline_status`` reads the journal while no robot runs, and writes nothing.
"""
