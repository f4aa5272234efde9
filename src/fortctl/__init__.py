"""fortctl: two dedicated Binance API keys per account, one of them sealed to a robot."""

__version__ = "0.1.0"
