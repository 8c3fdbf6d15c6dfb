"""The users' code: strategies, their signals and what they may do."""

from sep_ray.strategy.base import BaseStrategy
from sep_ray.strategy.desk import Portfolio, Prediction
from sep_ray.strategy.market import Bar, Market, Mid, Pair
from sep_ray.strategy.plain import param

__all__ = ["Bar", "BaseStrategy", "Market", "Mid", "Pair", "Portfolio", "Prediction", "param"]
