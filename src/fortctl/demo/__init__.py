"""``fortctl demo``: the whole story on the paper exchange, as real processes, each line with its proof.

:mod:`.shell` types fortctl commands, each a process of its own, in a home made for the demo. :mod:`.scenario` is the
story: two keys, a trading robot, a rotation, a lost key replaced, panic. :mod:`.checks` decides from the results alone
whether each line is proved; it is pure, so that tests can feed it false results and see it refuse them.

The demo types what a person could type. Beside that it only asks the exchange, through the ordinary client, whether a
key is accepted; no test double stands in for anything.
"""
