"""Trades in memory: what the recording still holds, and what clients have already seen. Pure.

``table`` keeps the trades of a whole recording in columns, block by block, and makes a :class:`~.table.Trade` of one
when it is read: a month of a busy symbol has 30 million, and an object takes 350 bytes.

``history`` keeps the last trades that have happened, as objects, with their time for clients. It derives aggregates,
candles and averages when they are read, and forgets the oldest trades, but no candle of a minute.
"""
