"""The machine under fortctl: clocks, files, threads, memory, network (adapters).

Everything here is a thin layer over system calls, and knows nothing of keys or trading:

- :mod:`.clock`: the only module that reads the time. Everything else receives a clock.
- :mod:`.files`: atomic, durable, private files, and locks between processes. Readers of the home's files use it too,
  so that a pipe or a device in the file's place is an error instead of a hang.
- :mod:`.threads`: blocking calls beside an event loop, in threads that end or that nobody waits for.
- :mod:`.memory`: no core dumps, no swap, and overwriting what is left of a forgotten key.
- :mod:`.network`: the local address towards the exchange.
- :mod:`.users`: user names, and how root becomes the owner of a home.
"""
