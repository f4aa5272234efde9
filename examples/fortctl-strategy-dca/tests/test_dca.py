"""The property suite over this strategy: all that a plugin's author needs to write."""

from decimal import Decimal

from fortctl_strategy_dca import DollarCostAveraging

from fortctl.robot.strategy import PluginSettings
from fortctl.robot.testing import strategy_suite

SETTINGS = PluginSettings(
    "dca", "XRPETH", Decimal("0.5"), Decimal("0.05"), max_quote=Decimal("0.3"), options={"every": "10m", "below": "0.1"}
)

TestDca = strategy_suite(DollarCostAveraging(), SETTINGS)
