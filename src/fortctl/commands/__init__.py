"""The commands: one module for each group.

Each command is a function with the same three parts: read its options into values, call one service, and return a
:class:`fortctl.cli.result.Result` with the data for ``--json`` and the text for a person. It decides nothing, makes no
adapter and catches no error that it does not explain better.

To add a command, write the function here with the decorators of :mod:`fortctl.cli.commands`; a new group also needs a
line in :mod:`fortctl.cli.registry`, which lists the names so that ``--help`` and completion import no module of this
package. Import inside a function what only that command needs: start-up time is what a command imports.
"""
