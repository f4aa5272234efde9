"""The command line itself: everything about commands that is not one command.

A call takes this way: :mod:`.registry` knows the names and help lines of all commands without importing them;
:mod:`.app` finds the command, imports its module and runs it; the command's function gets a
:class:`.context.CommandContext` and its options, and returns a :class:`.result.Result` or raises a ``FortctlError``;
:mod:`.output` prints that as text or as one JSON document and gives the exit code.

The few ideas:

- **One error boundary.** Only :mod:`.app` catches errors. A command never prints an error or exits.
- **Global options** (:mod:`.options`) are accepted before and after the command's name, and merged into one frozen
  :class:`fortctl.terminal.global_options.Globals`.
- **Results on stdout, everything else on stderr.** Prompts, progress and warnings never mix with a result. Text that
  others wrote is made safe for a terminal (:mod:`fortctl.terminal.printable`).
- **Plugins** (:mod:`.plugins`) are known by name from their distribution's metadata, imported only when they are
  called, and never replace a core command.
"""
