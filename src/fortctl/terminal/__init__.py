"""The person at the terminal.

- :mod:`.global_options`: the values of the options that every command accepts.
- :mod:`.prompts` asks questions on stderr, reads secrets without echo, and reads the files that options name.
- :mod:`.printable` escapes control characters in text that others wrote, before it reaches the terminal.

``cli`` (which parses and prints) and ``bootstrap`` (which makes adapters) stand above this package and ask through it.
"""
